//! What a session has to say on its command stream, and how much it may have under way.
//!
//! The engine's threads encode answers straight into one buffer and hand the session over to be woken; its task takes all
//! of the buffer at once and writes it in one go. What a command takes in units is given back when its answer has been written, not when it was made: a
//! client that sends and does not read comes to a halt, and its buffer stays bounded.

use super::handover::Handover;
use bytes::{Bytes, BytesMut};
use highwater_engine::command::Receipt;
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::{Failure, ReceiptFrame, Response, ServerFrame, encode_frame, response, server_frame};
use parking_lot::{Mutex, MutexGuard};
use quinn::SendStream;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// An idle session keeps no larger buffer than this, in bytes.
const KEPT_BYTES_MAX: usize = 512;

/// Frames waiting to be written.
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    ready: Notify,
    units: Semaphore,
    units_max: u32,
    handover: Arc<Handover>,
}

#[derive(Default)]
struct Pending {
    bytes: BytesMut,
    /// Units of the commands that `bytes` answers.
    units: u32,
    /// Nothing comes after `bytes`.
    closed: bool,
    /// The session is about to be woken.
    is_listed: bool,
}

impl Outbox {
    pub(super) fn new(units_max: u32, handover: Arc<Handover>) -> Self {
        let units_max = units_max.min(Semaphore::MAX_PERMITS.try_into().unwrap_or(u32::MAX));
        let units = Semaphore::new(units_max as usize);
        Self { pending: Mutex::default(), ready: Notify::new(), units, units_max, handover }
    }

    pub(super) fn units_max(&self) -> u32 {
        self.units_max
    }

    /// Whether a command of so many units may be under way at once. They come back with its answer.
    pub(super) fn try_admit(&self, units: u32) -> bool {
        self.units.try_acquire_many(units.min(self.units_max)).map(SemaphorePermit::forget).is_ok()
    }

    /// Waits until a command of so many units may be under way. They come back with its answer.
    pub(super) async fn admit(&self, units: u32) {
        if !self.try_admit(units)
            && let Ok(permit) = self.units.acquire_many(units.min(self.units_max)).await
        {
            permit.forget();
        }
    }

    /// Waits until every command is answered and its answer written. Nothing is admitted while somebody waits.
    pub(super) async fn idle(&self) {
        let _ = self.units.acquire_many(self.units_max).await;
    }

    /// Answers a request that had so many units.
    pub(super) fn answer(self: &Arc<Self>, id: u64, units: u32, outcome: response::Outcome) {
        let frame = |outcome| {
            let response = Response { id, outcome: Some(outcome) };
            ServerFrame { body: Some(server_frame::Body::Response(response)) }
        };
        if !self.push(&frame(outcome), units) {
            let error = Error::new(Code::LimitExceeded, "it is done, but its record is longer than a frame may be");
            self.push(&frame(response::Outcome::Failure(Failure::from(&error))), units);
        }
    }

    /// Answers a request that had so many units with a receipt: by far the most frequent answer.
    pub(super) fn receipt(self: &Arc<Self>, id: u64, units: u32, receipt: &Receipt) {
        let frame = ReceiptFrame {
            id,
            conversation: &receipt.conversation,
            seq: receipt.seq.0,
            position: receipt.position.0,
            time_ms: receipt.time_ms,
            client_seq: receipt.client_seq,
            repeated: receipt.repeated,
        };
        self.append(units, |bytes| {
            frame.encode(bytes);
            true
        });
    }

    /// Appends a frame that gives back so many units. False, and nothing is done, if it is too long for a frame.
    pub(super) fn push(self: &Arc<Self>, frame: &ServerFrame, units: u32) -> bool {
        self.append(units, |bytes| encode_frame(frame, bytes).is_ok())
    }

    fn append(self: &Arc<Self>, units: u32, encode: impl FnOnce(&mut BytesMut) -> bool) -> bool {
        let mut pending = self.pending.lock();
        if pending.closed {
            return true;
        }
        if !encode(&mut pending.bytes) {
            return false;
        }
        pending.units += units;
        self.hand_over(pending);
        true
    }

    /// Has the session woken, unless that is under way.
    fn hand_over(self: &Arc<Self>, mut pending: MutexGuard<'_, Pending>) {
        let was_listed = std::mem::replace(&mut pending.is_listed, true);
        drop(pending);
        if !was_listed {
            self.handover.answered(self.clone());
        }
    }

    /// Wakes the session's task; what comes from here on wakes it again.
    pub(super) fn wake(&self) {
        self.pending.lock().is_listed = false;
        self.ready.notify_one();
    }

    /// Says that nothing comes after what is pending, and perhaps one more frame.
    pub(super) fn close(self: &Arc<Self>, last: Option<&ServerFrame>) {
        let mut pending = self.pending.lock();
        if let Some(frame) = last.filter(|_| !pending.closed) {
            // Under one lock: an answer of the engine's must not come behind the last frame. That one is short.
            let _fits = encode_frame(frame, &mut pending.bytes);
        }
        pending.closed = true;
        self.hand_over(pending);
    }

    /// Everything that is pending, once there is something; `None` after the last.
    pub(super) async fn next(&self) -> Option<(Bytes, u32)> {
        loop {
            let waiting = self.ready.notified();
            {
                let mut pending = self.pending.lock();
                if !pending.bytes.is_empty() {
                    let units = std::mem::take(&mut pending.units);
                    let bytes = pending.bytes.split().freeze();
                    if bytes.len() > KEPT_BYTES_MAX {
                        pending.bytes = BytesMut::new();
                    }
                    return Some((bytes, units));
                }
                if pending.closed {
                    return None;
                }
            }
            waiting.await;
        }
    }

    /// Writes everything to the stream, and finishes it after the last. Returns when the peer has it, or is gone.
    pub(super) async fn write_to(&self, send: &mut SendStream) {
        while let Some((bytes, units)) = self.next().await {
            if send.write_chunk(bytes).await.is_err() {
                return;
            }
            self.units.add_permits(units as usize);
        }
        if send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_proto::wire::{FrameReader, Target};
    use tokio::time::{Duration, timeout};

    const SOON: Duration = Duration::from_millis(20);

    /// With a task that wakes its session.
    fn outbox(units_max: u32) -> Arc<Outbox> {
        let handover = Arc::new(Handover::default());
        let outbox = Arc::new(Outbox::new(units_max, handover.clone()));
        tokio::spawn(async move { handover.serve().await });
        outbox
    }

    fn unchanged() -> response::Outcome {
        response::Outcome::Unchanged(Target { conversation: "c".to_owned() })
    }

    #[tokio::test]
    async fn answers_are_taken_together_and_in_order() {
        let outbox = outbox(10);
        for id in 1..=3 {
            outbox.admit(2).await;
            outbox.answer(id, 2, unchanged());
        }
        let (bytes, units) = outbox.next().await.expect("three answers");
        assert_eq!(units, 6);
        let mut frames = FrameReader::new();
        frames.push(&bytes);
        for id in 1..=3 {
            let frame = frames.next::<ServerFrame>().expect("a frame").expect("is whole");
            assert!(matches!(frame.body, Some(server_frame::Body::Response(response)) if response.id == id));
        }
        outbox.close(None);
        assert!(outbox.next().await.is_none());
    }

    #[tokio::test]
    async fn commands_wait_until_answers_are_written() {
        let outbox = outbox(2);
        outbox.admit(1).await;
        outbox.admit(1).await;
        assert!(timeout(SOON, outbox.admit(1)).await.is_err(), "both units are under way");
        outbox.answer(1, 1, unchanged());
        assert!(timeout(SOON, outbox.admit(1)).await.is_err(), "an answer that was not written gives nothing back");
        let (_, units) = outbox.next().await.expect("an answer");
        outbox.units.add_permits(units as usize);
        timeout(SOON, outbox.admit(1)).await.expect("a unit is free");
        assert!(timeout(SOON, outbox.idle()).await.is_err(), "two are under way");
    }

    #[tokio::test]
    async fn a_command_larger_than_all_units_is_admitted_alone() {
        let outbox = outbox(2);
        timeout(SOON, outbox.admit(100)).await.expect("it takes what there is");
        assert!(timeout(SOON, outbox.admit(1)).await.is_err());
    }
}
