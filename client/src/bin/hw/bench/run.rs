//! What all tasks of a run share, and the stamp by which they know each other's messages.

use super::meter::Meter;
use super::plan::{Bodies, Plan};
use super::workload::{Length, STAMP_BYTES};
use crate::crowd::{Connector, SocketPool};
use bytes::Bytes;
use highwater_client::{Content, Record};
use std::sync::atomic::{AtomicU64, Ordering};

/// What all tasks of a run share.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) connector: Connector,
    pub(super) sockets: SocketPool,
    pub(super) meter: Meter,
    pub(super) bodies: Bodies,
    /// By which this run's messages are told from those of earlier ones.
    mark: u64,
    /// Messages that are still to be sent, if their number says when the run ends.
    left: AtomicU64,
    /// When the sends begin and end, in µs since the run began.
    begin_us: AtomicU64,
    end_us: AtomicU64,
}

impl Run {
    pub(super) fn new(plan: Plan, connector: Connector) -> Self {
        let left = match plan.workload.length {
            Length::Seconds(_) => u64::MAX,
            Length::Messages(messages) => messages,
        };
        Self {
            connector,
            sockets: SocketPool::new(plan.workload.sockets),
            meter: Meter::new(),
            bodies: Bodies::new(&plan.workload.body_bytes, plan.workload.seed),
            mark: rand::random(),
            left: AtomicU64::new(left),
            begin_us: AtomicU64::new(0),
            end_us: AtomicU64::new(u64::MAX),
            plan,
        }
    }

    /// The sends begin now: what happens after the warm-up is measured, up to the end if that is a time.
    pub(super) fn begin(&self) {
        let us = |seconds: f64| (seconds * 1e6) as u64;
        let now = self.meter.now_us();
        let begin = now + us(self.plan.workload.warmup_seconds);
        let end = match self.plan.workload.length {
            Length::Seconds(seconds) => begin + us(seconds),
            Length::Messages(_) => u64::MAX,
        };
        self.begin_us.store(now, Ordering::Relaxed);
        self.end_us.store(end, Ordering::Relaxed);
        self.meter.measure(begin, end);
    }

    /// When the sends began, in µs since the run did.
    pub(super) fn begin_us(&self) -> u64 {
        self.begin_us.load(Ordering::Relaxed)
    }

    /// When the sends end, in µs since the run began.
    pub(super) fn end_us(&self) -> u64 {
        self.end_us.load(Ordering::Relaxed)
    }

    /// Nothing more is sent, whatever was planned.
    pub(super) fn stop(&self) {
        let now_us = self.meter.now_us();
        self.end_us.fetch_min(now_us, Ordering::Relaxed);
        self.meter.end_by(now_us);
    }

    /// Whether the sends are over.
    pub(super) fn is_over(&self) -> bool {
        self.meter.now_us() >= self.end_us()
    }

    /// Takes one more message off those that are left.
    pub(super) fn take_one(&self) -> bool {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// What a message that is due then begins with.
    pub(super) fn stamp(&self, due_us: u64) -> [u8; STAMP_BYTES] {
        let mut stamp = [0; STAMP_BYTES];
        stamp[..8].copy_from_slice(&self.mark.to_le_bytes());
        stamp[8..].copy_from_slice(&due_us.to_le_bytes());
        stamp
    }

    /// When a message was due, if it is one of this run's.
    pub(super) fn due_us(&self, record: &Record) -> Option<u64> {
        let Content::Message(text) = &record.content else { return None };
        let (mark, rest) = text.body.as_ref().map(Bytes::as_ref)?.split_first_chunk::<8>()?;
        let (due, _) = rest.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*mark) == self.mark).then(|| u64::from_le_bytes(*due))
    }
}
