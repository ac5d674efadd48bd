//! The delta stream: what a device missed, then what is new, in one order.
//!
//! A subscription is a cursor on its user's timelines. It registers to be woken *before* it reads, so that nothing falls
//! between catching up and live. It holds one delta at a time and reads the next one only when the peer has taken this
//! one: a slow device gets larger deltas, not a longer queue.

use super::handover::Bell;
use super::{Session, Shared};
use crate::convert;
use bytes::Bytes;
use highwater_engine::entry::{Cursor, Delta, Place, Start, SyncLimits};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Position;
use highwater_proto::limits::{DELTA_RECORDS_MAX, WIRE_FRAME_BYTES_MAX};
use highwater_proto::wire::{PreparedDelta, Subscribe, Subscribed, encode_frame};
use quinn::{SendStream, VarInt, WriteError};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::{Duration, Instant, sleep_until};

/// Below commands and their answers, above queries.
const PRIORITY: i32 = 1;

/// Serves a subscription until it has caught up, if that was all that was wanted, or until its task is ended.
pub(super) async fn serve(
    session: Arc<Session>,
    user: Arc<str>,
    subscribed: Subscribed,
    start: Start,
    subscribe: Subscribe,
) {
    if let Err(Stop::Failed(error)) = run(&session, user, subscribed, start, &subscribe).await {
        session.ending.end(error);
    }
}

/// Why a subscription stops before its time.
enum Stop {
    /// The peer wants no more of it, or is gone.
    Unwanted,
    /// The session cannot go on.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl From<WriteError> for Stop {
    fn from(_: WriteError) -> Self {
        Stop::Unwanted
    }
}

async fn run(
    session: &Session,
    user: Arc<str>,
    subscribed: Subscribed,
    start: Start,
    subscribe: &Subscribe,
) -> Result<(), Stop> {
    let bell = Arc::new(Bell::default());
    let (rung, handover) = (bell.clone(), session.shared.handover.clone());
    let _subscription = session.shared.engine.subscribe(&user, Arc::new(move || rung.ring(&handover)))?;
    let mut stream = DeltaStream::open(session, &subscribed).await?;
    let mut reader = Reader::new(session.shared.clone(), user, start, subscribe);
    let mut told = Told::new(session.shared.timeouts.quiet);
    let mut quiet = pin!(sleep_until(told.next_empty));
    let mut caught_up = false;
    loop {
        if !caught_up {
            // Few at a time: after a storm of reconnections thousands catch up, and answers do not wait for them all.
            let turn = session.shared.catch_ups.acquire().await;
            tokio::task::yield_now().await;
            drop(turn);
        }
        let delta = reader.next().await?;
        caught_up = delta.rest.caught_up;
        if let Some(delta) = told.worth_telling(delta) {
            stream.write_delta(delta).await?;
        }
        if !caught_up {
            continue;
        }
        if !subscribe.live {
            return stream.finish().await;
        }
        loop {
            tokio::select! {
                biased;
                () = bell.rung() => break,
                () = &mut quiet => {
                    if Instant::now() < told.next_empty {
                        // It was told something since; the timer is only set when it runs out.
                        quiet.as_mut().reset(told.next_empty);
                        continue;
                    }
                    told.put_off();
                    quiet.as_mut().reset(told.next_empty);
                    if session.shared.engine.visible().0 > told.to {
                        told.empty_is_due = true;
                        break;
                    }
                }
            }
        }
    }
}

/// Reads one delta after the other.
struct Reader {
    shared: Arc<Shared>,
    user: Arc<str>,
    place: Place,
    limits: SyncLimits,
}

impl Reader {
    fn new(shared: Arc<Shared>, user: Arc<str>, start: Start, subscribe: &Subscribe) -> Self {
        let limits = SyncLimits {
            records_max: subscribe.records_max as usize,
            bytes_max: 0,
            per_conversation_max: u64::from(subscribe.per_conversation_max),
        };
        Self { shared, user, place: Place::Start(start), limits }
    }

    /// The next delta, which fits a frame: the engine counts bodies and names, but neither gaps nor ranges. If those
    /// make it too long, fewer records are taken.
    async fn next(&mut self) -> Result<PreparedDelta, Error> {
        let mut limits = self.limits;
        loop {
            let (delta, next, count) = self.read(limits).await?;
            let size = delta.encoded_len();
            if size <= WIRE_FRAME_BYTES_MAX {
                self.place = Place::Next(next);
                return Ok(delta);
            }
            limits = fewer(limits, count).ok_or_else(|| {
                Error::limit("wire_frame_bytes_max", WIRE_FRAME_BYTES_MAX as u64, format!("a delta has {size} bytes"))
            })?;
        }
    }

    /// What is new is in memory, and read here and now; what is not is read where waiting for the disk delays nobody.
    async fn read(&self, limits: SyncLimits) -> Result<(PreparedDelta, Cursor, usize), Error> {
        let (engine, place) = (&self.shared.engine, self.place);
        let visible = engine.visible();
        if let Some(delta) = engine.try_sync_encoded(&self.user, place, limits, &convert::encoded)? {
            return Ok(converted(delta, visible));
        }
        let user = self.user.clone();
        let read = self.shared.read(move |engine| {
            let visible = engine.visible();
            let delta = engine.sync_encoded(&user, place, limits, &convert::encoded)?;
            Ok(converted(delta, visible))
        });
        // Boxed, for its size: most sessions never get here.
        Box::pin(read).await
    }
}

/// Limits for half of what was in a delta that is too long for a frame; `None` if it cannot be halved.
fn fewer(limits: SyncLimits, count: usize) -> Option<SyncLimits> {
    (count > 1 && limits.records_max != 1)
        .then(|| SyncLimits { records_max: (count.min(DELTA_RECORDS_MAX) / 2).max(1), ..limits })
}

/// A delta for the wire, the cursor after it, and how many records or conversations it has.
///
/// It has caught up if it has reached what was visible when the read began. What became visible meanwhile is new, not
/// missed: else a busy store would never be caught up with. A snapshot that is not complete has no checkpoint.
fn converted(mut delta: Delta<Bytes>, visible: Position) -> (PreparedDelta, Cursor, usize) {
    delta.caught_up |= delta.checkpoint.is_some() && delta.to >= visible;
    let count = delta.records.len() + delta.conversations.len();
    let next = delta.next;
    (convert::delta(delta), next, count)
}

/// What the peer was told, so that it is told only what is new to it.
struct Told {
    /// Up to here.
    to: u64,
    /// Where the first delta began that was not sent: the next one that is sent covers it.
    from: Option<u64>,
    /// Whether the last thing it was told is that it has caught up.
    caught_up: bool,
    /// When a quiet device is to be moved on.
    next_empty: Instant,
    empty_is_due: bool,
    quiet: Duration,
}

impl Told {
    fn new(quiet: Duration) -> Self {
        Self { to: 0, from: None, caught_up: false, next_empty: Instant::now() + quiet, empty_is_due: false, quiet }
    }

    fn put_off(&mut self) {
        self.next_empty = Instant::now() + self.quiet;
    }

    /// The delta as it is to be sent, or nothing if it says nothing.
    fn worth_telling(&mut self, prepared: PreparedDelta) -> Option<PreparedDelta> {
        let PreparedDelta { rest: mut delta, records } = prepared;
        let is_empty =
            records.is_empty() && delta.gaps.is_empty() && delta.conversations.is_empty() && delta.reset.is_none();
        let is_news = delta.caught_up && !self.caught_up || self.empty_is_due && delta.to > self.to;
        if is_empty && !is_news {
            self.from.get_or_insert(delta.from);
            return None;
        }
        // What was skipped held nothing that the user may see, so that this delta covers it too.
        delta.from = self.from.take().unwrap_or(delta.from);
        self.to = delta.to;
        self.caught_up = delta.caught_up;
        self.empty_is_due = false;
        self.put_off();
        Some(PreparedDelta { rest: delta, records })
    }
}

/// The stream, which is reset unless it was finished: half a frame must not look like an end.
struct DeltaStream {
    send: SendStream,
    /// Which subscription it is for: goes out with the first delta, which saves a packet and a turn of the peer's.
    name: Option<Bytes>,
    finished: bool,
}

impl DeltaStream {
    async fn open(session: &Session, subscribed: &Subscribed) -> Result<Self, Stop> {
        let mut name = Vec::new();
        encode_frame(subscribed, &mut name).map_err(Error::from)?;
        let send = session.connection.open_uni().await.map_err(|_| Stop::Unwanted)?;
        let _ = send.set_priority(PRIORITY);
        Ok(Self { send, name: Some(name.into()), finished: false })
    }

    async fn write_delta(&mut self, delta: PreparedDelta) -> Result<(), Stop> {
        let mut pieces = delta.into_frame().map_err(Error::from)?;
        if let Some(name) = self.name.take() {
            pieces.insert(0, name);
        }
        Ok(self.send.write_all_chunks(&mut pieces).await?)
    }

    async fn finish(mut self) -> Result<(), Stop> {
        self.finished = self.send.finish().is_ok();
        Ok(())
    }
}

impl Drop for DeltaStream {
    fn drop(&mut self) {
        if !self.finished {
            // Of a stream that is closed already there is nothing to reset.
            let _ = self.send.reset(VarInt::from_u32(Code::ALL.len() as u32 + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_proto::wire::{self, PreparedRecord};

    fn delta(from: u64, to: u64, records: usize, caught_up: bool) -> PreparedDelta {
        PreparedDelta {
            rest: wire::Delta { from, to, caught_up, ..Default::default() },
            records: vec![PreparedRecord::new(&wire::Record::default()); records],
        }
    }

    #[test]
    fn a_delta_that_is_too_long_is_halved_until_it_has_one_record() {
        let (mut limits, mut halved) = (SyncLimits::default(), Vec::new());
        let mut count = 5_000;
        while let Some(smaller) = fewer(limits, count) {
            halved.push(smaller.records_max);
            (limits, count) = (smaller, smaller.records_max);
        }
        assert_eq!(halved, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert!(fewer(SyncLimits { records_max: 1, ..limits }, 2).is_none());
    }

    #[test]
    fn what_is_told_joins_without_a_gap() {
        let mut told = Told::new(Duration::from_secs(1));
        // From, to, records, caught up; and what is sent of it, from and to.
        let steps = [
            ((0, 10, 0, false), None),
            ((10, 20, 0, false), None),
            ((20, 30, 1, false), Some((0, 30))),
            ((30, 40, 0, true), Some((30, 40))),
            ((40, 50, 0, true), None),
            ((50, 60, 0, true), None),
            ((60, 70, 2, true), Some((40, 70))),
            ((70, 80, 1, true), Some((70, 80))),
        ];
        for ((from, to, records, caught_up), expected) in steps {
            let sent = told.worth_telling(delta(from, to, records, caught_up));
            assert_eq!(sent.map(|delta| (delta.rest.from, delta.rest.to)), expected, "({from}, {to}]");
        }
        assert!(told.worth_telling(delta(80, 90, 0, true)).is_none());
        // A page that was not the last is followed by word that there is no more, even if the last one is empty.
        let mut busy = Told::new(Duration::from_secs(1));
        for (to, records, caught_up) in [(10, 1, true), (20, 1, false), (30, 0, true)] {
            assert!(busy.worth_telling(delta(to - 10, to, records, caught_up)).is_some(), "to {to}");
        }
        assert!(busy.worth_telling(delta(30, 40, 0, true)).is_none());
        told.empty_is_due = true;
        let sent = told.worth_telling(delta(90, 100, 0, true)).expect("a quiet device is moved on");
        assert_eq!((sent.rest.from, sent.rest.to), (80, 100));
        told.empty_is_due = true;
        assert!(told.worth_telling(delta(100, 100, 0, true)).is_none(), "there is nothing to move on to");
    }
}
