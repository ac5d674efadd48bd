//! What is counted and measured while a benchmark runs: by many tasks at once, read once a second and at the end.

use hdrhistogram::Histogram;
use highwater_client::{Code, Error};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Tasks share so many sets of histograms by turns, so that they seldom wait for each other.
const SHARDS: usize = 8;
/// Longer times count as this one: ten minutes.
const LONGEST_US: u64 = 600_000_000;
/// Significant digits of the histograms: what they tell is at most 0.1 % off.
const DIGITS: u8 = 3;

/// Everything that is counted and measured. Times are in µs since the run began.
#[derive(Debug)]
pub(super) struct Meter {
    origin: Instant,
    window: Mutex<(u64, u64)>,
    shards: Vec<Mutex<Times>>,
    next_shard: AtomicUsize,
    /// Sends given to the client.
    pub(super) sent: AtomicU64,
    /// Sends acknowledged.
    pub(super) acknowledged: AtomicU64,
    acknowledged_measured: AtomicU64,
    last_acknowledged_us: AtomicU64,
    /// Sends refused for good.
    pub(super) failed: AtomicU64,
    /// Sends that were due before the end and were not begun by then.
    pub(super) unsent: AtomicU64,
    /// Sends that were under way when their session was lost, and went out again.
    pub(super) retried: AtomicU64,
    /// Sends that the server had accepted before: it answered a repeat.
    pub(super) repeated: AtomicU64,
    /// Messages received by users other than their author.
    pub(super) deliveries: AtomicU64,
    deliveries_measured: AtomicU64,
    last_delivery_us: AtomicU64,
    /// Sessions that came back.
    pub(super) reconnects: AtomicU64,
    /// Timelines that began anew.
    pub(super) resets: AtomicU64,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

/// Histograms of times in µs.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) ack: Histogram<u64>,
    pub(super) delivery: Histogram<u64>,
    pub(super) catch_up: Histogram<u64>,
    /// Acknowledgements since they were last looked at.
    recent: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds make sense");
        Self { ack: empty(), delivery: empty(), catch_up: empty(), recent: empty() }
    }
}

/// One task's way to the meter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard(usize);

/// What happened within the measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) acknowledged: u64,
    pub(super) deliveries: u64,
    /// As `seconds`, but up to the last delivery if that came later.
    pub(super) delivery_seconds: f64,
}

impl Meter {
    /// Nothing is measured before [`measure`](Self::measure) says from when on.
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            window: Mutex::new((u64::MAX, u64::MAX)),
            shards: (0..SHARDS).map(|_| Mutex::new(Times::new())).collect(),
            next_shard: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            acknowledged_measured: AtomicU64::new(0),
            last_acknowledged_us: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            deliveries_measured: AtomicU64::new(0),
            last_delivery_us: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }

    /// The time now.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When this time is.
    pub(super) fn instant(&self, us: u64) -> Instant {
        self.origin + std::time::Duration::from_micros(us)
    }

    /// Measures what happens from the first of these times up to the second.
    pub(super) fn measure(&self, begin_us: u64, end_us: u64) {
        *self.window.lock() = (begin_us, end_us);
    }

    /// What was planned to end later ends now, so that rates are taken over the time that has really passed.
    pub(super) fn end_by(&self, now_us: u64) {
        let mut window = self.window.lock();
        if window.1 != u64::MAX {
            window.1 = window.1.min(now_us);
        }
    }

    /// Which histograms a task writes to.
    pub(super) fn shard(&self) -> Shard {
        Shard(self.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS)
    }

    /// Sends that were due at these times were acknowledged just now.
    pub(super) fn acknowledged(&self, shard: Shard, due_us: impl IntoIterator<Item = u64>) {
        let now_us = self.now_us();
        let (begin, end) = *self.window.lock();
        let mut times = self.shards[shard.0].lock();
        let (mut count, mut measured) = (0, 0);
        for due in due_us {
            count += 1;
            let latency = now_us.saturating_sub(due);
            times.recent.saturating_record(latency);
            if (begin..end).contains(&due) {
                times.ack.saturating_record(latency);
            }
            measured += u64::from((begin..end).contains(&now_us));
        }
        drop(times);
        self.acknowledged.fetch_add(count, Ordering::Relaxed);
        self.acknowledged_measured.fetch_add(measured, Ordering::Relaxed);
        self.last_acknowledged_us.fetch_max(now_us, Ordering::Relaxed);
    }

    /// A send that was due then was never begun: it has waited in vain until now.
    pub(super) fn unsent(&self, shard: Shard, due_us: u64) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
        let (begin, end) = *self.window.lock();
        if (begin..end).contains(&due_us) {
            self.shards[shard.0].lock().ack.saturating_record(self.now_us().saturating_sub(due_us));
        }
    }

    /// Messages came just now; `due_us` of those that came live, when they were due.
    pub(super) fn delivered(&self, shard: Shard, count: u64, due_us: &[u64]) {
        let now_us = self.now_us();
        let (begin, end) = *self.window.lock();
        if !due_us.is_empty() {
            let mut times = self.shards[shard.0].lock();
            for due in due_us.iter().filter(|due| (begin..end).contains(*due)) {
                times.delivery.saturating_record(now_us.saturating_sub(*due));
            }
        }
        self.deliveries.fetch_add(count, Ordering::Relaxed);
        if (begin..end).contains(&now_us) {
            self.deliveries_measured.fetch_add(count, Ordering::Relaxed);
        }
        self.last_delivery_us.fetch_max(now_us, Ordering::Relaxed);
    }

    /// A reader that came back has caught up, so long after it began to.
    pub(super) fn caught_up(&self, shard: Shard, begun_us: u64) {
        self.shards[shard.0].lock().catch_up.saturating_record(self.now_us().saturating_sub(begun_us));
    }

    /// Something was refused, put off, or broke off.
    pub(super) fn error(&self, error: &Error) {
        self.error_code(error.code);
    }

    fn error_code(&self, code: Code) {
        *self.errors.lock().entry(code.as_str()).or_default() += 1;
    }

    /// Errors by code.
    pub(super) fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.errors.lock().clone()
    }

    /// Sends that were given to the client and have no answer yet.
    pub(super) fn unanswered(&self) -> u64 {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        count(&self.sent).saturating_sub(count(&self.acknowledged) + count(&self.failed))
    }

    /// The times of the acknowledgements since the last call.
    pub(super) fn recent(&self) -> Histogram<u64> {
        let mut all = Times::new().recent;
        for shard in &self.shards {
            let mut times = shard.lock();
            // All have the same bounds.
            if all.add(&times.recent).is_ok() {
                times.recent.reset();
            }
        }
        all
    }

    /// All times.
    pub(super) fn times(&self) -> Times {
        let mut all = Times::new();
        for shard in &self.shards {
            let times = shard.lock();
            for (sum, part) in
                [(&mut all.ack, &times.ack), (&mut all.delivery, &times.delivery), (&mut all.catch_up, &times.catch_up)]
            {
                sum.add(part).expect("all have the same bounds");
            }
        }
        all
    }

    /// What happened within the measured time, which ends with the last acknowledgement if it has no other end.
    pub(super) fn measured(&self) -> Measured {
        let (begin, end) = *self.window.lock();
        let seconds = |until: u64| until.saturating_sub(begin) as f64 / 1e6;
        let last = self.last_acknowledged_us.load(Ordering::Relaxed);
        let is_open = end == u64::MAX;
        let end = if is_open { last } else { end };
        let last_delivery = if is_open { end.max(self.last_delivery_us.load(Ordering::Relaxed)) } else { end };
        Measured {
            seconds: seconds(end),
            acknowledged: self.acknowledged_measured.load(Ordering::Relaxed),
            deliveries: self.deliveries_measured.load(Ordering::Relaxed),
            delivery_seconds: seconds(last_delivery),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_window_is_measured() {
        let meter = Meter::new();
        let shard = meter.shard();
        let now = meter.now_us();
        meter.acknowledged(shard, [now]);
        meter.measure(now, now + 3_600_000_000);
        meter.acknowledged(shard, [now, now, now.saturating_sub(1)]);
        meter.delivered(shard, 5, &[now, now]);
        meter.unsent(shard, now);
        let measured = meter.measured();
        assert_eq!((measured.acknowledged, measured.deliveries), (3, 5));
        assert_eq!((measured.seconds, measured.delivery_seconds), (3_600.0, 3_600.0));
        let times = meter.times();
        assert_eq!((times.ack.len(), times.delivery.len()), (3, 2), "of those that were due within it");
        assert_eq!((meter.recent().len(), meter.recent().len()), (4, 0));
        assert_eq!(meter.acknowledged.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_window_without_an_end_ends_with_the_last_acknowledgement() {
        let meter = Meter::new();
        let shard = meter.shard();
        meter.measure(0, u64::MAX);
        meter.acknowledged(shard, [0]);
        let last = meter.now_us();
        let measured = meter.measured();
        assert!(measured.acknowledged == 1 && measured.seconds <= last as f64 / 1e6, "{measured:?}");
    }

    #[test]
    fn errors_are_counted_by_code() {
        let meter = Meter::new();
        for code in [Code::Busy, Code::Unreachable, Code::Busy] {
            meter.error(&Error::new(code, ""));
        }
        assert_eq!(meter.errors(), BTreeMap::from([("busy", 2), ("unreachable", 1)]));
    }
}
