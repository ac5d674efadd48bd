//! Pushing as cheaply as quinn allows: a frame is encoded once for all devices that are equally far.

use super::Fallible;
use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::wire::{Delta, Record, Reset, Send, Subscribed, encode_frame, kind};
use parking_lot::Mutex;
use prost::Message;
use quinn::Connection;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// Records kept for devices that lag; the load generator's window is smaller.
const RECORDS_KEPT: usize = 4_096;
/// Bytes of a checkpoint.
const CHECKPOINT: [u8; 29] = [7; 29];
/// The tag of a delta's records.
const RECORDS_TAG: u32 = 5;
const PRIORITY: i32 = 1;

/// All groups, by name.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<String, Arc<Group>>>);

impl Groups {
    pub(super) fn of(&self, name: &str) -> Arc<Group> {
        self.0.lock().entry(name.to_owned()).or_default().clone()
    }
}

/// What was sent into a group.
#[derive(Default)]
pub(super) struct Group {
    log: Mutex<Log>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Log {
    last: u64,
    /// The records up to `last`, each as a field of a delta.
    records: VecDeque<Bytes>,
    /// The frame made last, and the positions that it spans.
    frame: Option<(u64, u64, Bytes)>,
}

impl Group {
    /// Appends a message; [`wake`](Self::wake) tells of it.
    pub(super) fn publish(&self, from: &str, message: Send) {
        let mut log = self.log.lock();
        log.last += 1;
        let record = Record {
            // As large as numbers are in a store with some history.
            position: 3_000_000 + log.last,
            conversation: message.conversation,
            seq: 20_000 + log.last,
            kind: kind::MESSAGE,
            from: from.to_owned(),
            device: "s".to_owned(),
            time_ms: 1_800_000_000_000,
            body: message.body,
            ..Default::default()
        };
        let mut field = BytesMut::new();
        prost::encoding::message::encode(RECORDS_TAG, &record, &mut field);
        log.records.push_back(field.freeze());
        if log.records.len() > RECORDS_KEPT {
            log.records.pop_front();
        }
    }

    /// Wakes all devices.
    pub(super) fn wake(&self) {
        let last = self.log.lock().last;
        self.newest.send_replace(last);
    }

    /// Everything after a position as one frame, and where it ends.
    fn after(&self, from: u64) -> (u64, Bytes) {
        let log = &mut *self.log.lock();
        let to = log.last;
        if let Some((_, _, frame)) = log.frame.as_ref().filter(|made| (made.0, made.1) == (from, to)) {
            return (to, frame.clone());
        }
        let kept = log.records.len();
        let records = log.records.range(kept.saturating_sub((to - from) as usize)..);
        let delta = Delta { from, to, checkpoint: checkpoint(), caught_up: true, ..Default::default() };
        let length = delta.encoded_len() + records.clone().map(Bytes::len).sum::<usize>();
        let mut frame = BytesMut::with_capacity(4 + length);
        frame.put_u32_le(length as u32);
        delta.encode(&mut frame).expect("a buffer grows");
        records.for_each(|record| frame.put_slice(record));
        let frame = frame.freeze();
        log.frame = Some((from, to, frame.clone()));
        (to, frame)
    }
}

fn checkpoint() -> Bytes {
    Bytes::from_static(&CHECKPOINT)
}

/// Pushes to one device until it goes away.
pub(super) async fn serve(connection: Connection, group: Arc<Group>) {
    // It ends when the connection does, which its own task reports.
    let _ = push(&connection, &group).await;
}

async fn push(connection: &Connection, group: &Group) -> Fallible<()> {
    let mut send = connection.open_uni().await?;
    let _ = send.set_priority(PRIORITY);
    let mut newest = group.newest.subscribe();
    let mut position = group.log.lock().last;
    let mut out = BytesMut::new();
    encode_frame(&Subscribed { subscription: 1 }, &mut out)?;
    let reset = Some(Reset { reason: "requested".to_owned() });
    let start =
        Delta { from: position, to: position, checkpoint: checkpoint(), caught_up: true, reset, ..Default::default() };
    encode_frame(&start, &mut out)?;
    send.write_chunk(out.freeze()).await?;
    loop {
        newest.wait_for(|newest| *newest > position).await?;
        let frame;
        (position, frame) = group.after(position);
        send.write_chunk(frame).await?;
    }
}
