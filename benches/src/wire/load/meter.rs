//! Counting within a window of time: nothing before the warm-up is over, nothing after the end.

use super::super::plan::{Outcome, Quantiles, Target, Time};
use super::super::{Fallible, process};
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// Longest time that is told apart, in ns.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// What all tasks of the generator count on.
pub(super) struct Meter {
    counts: Cell<bool>,
    stopped: Cell<bool>,
    sends: Cell<u64>,
    deliveries: Cell<u64>,
    deltas: Cell<u64>,
    held_back: Cell<u64>,
    ack: RefCell<Histogram<u64>>,
    delivery: RefCell<Histogram<u64>>,
}

impl Meter {
    pub(super) fn new() -> Fallible<Self> {
        let histogram = || Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).map(RefCell::new);
        Ok(Self {
            counts: Cell::new(false),
            stopped: Cell::new(false),
            sends: Cell::new(0),
            deliveries: Cell::new(0),
            deltas: Cell::new(0),
            held_back: Cell::new(0),
            ack: histogram()?,
            delivery: histogram()?,
        })
    }

    /// Whether nothing more is to be sent.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    pub(super) fn answered(&self, latency: Duration) {
        if self.counts.get() {
            self.sends.set(self.sends.get() + 1);
            self.ack.borrow_mut().saturating_record(latency.as_nanos() as u64);
        }
    }

    pub(super) fn delivered(&self, latency: Duration) {
        if self.counts.get() {
            self.deliveries.set(self.deliveries.get() + 1);
            self.delivery.borrow_mut().saturating_record(latency.as_nanos() as u64);
        }
    }

    /// A frame with deliveries came.
    pub(super) fn delta(&self) {
        if self.counts.get() {
            self.deltas.set(self.deltas.get() + 1);
        }
    }

    /// The clock asked for so many sends that could not go out.
    pub(super) fn held_back(&self, sends: u64) {
        if self.counts.get() {
            self.held_back.set(self.held_back.get() + sends);
        }
    }

    /// Lets the window of time pass, and tells what happened in it. Nothing more is sent after that.
    pub(super) async fn measure(&self, target: &Target, time: Time) -> Fallible<Outcome> {
        tokio::time::sleep(Duration::from_millis(time.warmup_ms)).await;
        let cpu = || Fallible::Ok((process::cpu_s(target.pid)?, process::cpu_s(std::process::id())?));
        let (before, dropped) = (cpu()?, process::datagrams_dropped()?);
        let started = Instant::now();
        self.counts.set(true);
        tokio::time::sleep(Duration::from_millis(time.measure_ms)).await;
        self.counts.set(false);
        let seconds = started.elapsed().as_secs_f64();
        let after = cpu()?;
        self.stopped.set(true);
        Ok(Outcome {
            seconds,
            sends: self.sends.get(),
            deliveries: self.deliveries.get(),
            deltas: self.deltas.get(),
            server_cpu_s: after.0 - before.0,
            load_cpu_s: after.1 - before.1,
            ack: quantiles(&self.ack.borrow()),
            delivery: quantiles(&self.delivery.borrow()),
            held_back: self.held_back.get(),
            dropped: process::datagrams_dropped()? - dropped,
            memory: Vec::new(),
        })
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Quantiles { p50: us(0.5), p99: us(0.99), p999: us(0.999) }
}
