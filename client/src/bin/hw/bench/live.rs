//! How a run goes, once a second: a line that moves on a terminal, else a line each time.

use super::meter::Meter;
use crate::crowd::progress::Style;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Tells how a run goes, on standard error.
pub(super) struct Live {
    style: Style,
    bar: Option<ProgressBar>,
    begun: Instant,
    looked: Instant,
    acknowledged: u64,
    deliveries: u64,
    /// When something last happened.
    moved: Instant,
}

impl Live {
    /// The run begins now.
    pub(super) fn new(style: Style, meter: &Meter) -> Self {
        let bar = (style == Style::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is fixed; if it were wrong, the default one would do.
            match ProgressStyle::with_template("{spinner} {msg}") {
                Ok(template) => bar.with_style(template),
                Err(_) => bar,
            }
        });
        let now = Instant::now();
        Self {
            style,
            bar,
            begun: now,
            looked: now,
            acknowledged: meter.acknowledged.load(Ordering::Relaxed),
            deliveries: meter.deliveries.load(Ordering::Relaxed),
            moved: now,
        }
    }

    /// Looks at what happened since the last time, and tells it.
    pub(super) fn tell(&mut self, meter: &Meter) {
        let now = Instant::now();
        let seconds = now.duration_since(self.looked).as_secs_f64().max(1e-3);
        let acknowledged = meter.acknowledged.load(Ordering::Relaxed);
        let deliveries = meter.deliveries.load(Ordering::Relaxed);
        let (sends, arrivals) = (acknowledged - self.acknowledged, deliveries - self.deliveries);
        if sends + arrivals > 0 {
            self.moved = now;
        }
        (self.looked, self.acknowledged, self.deliveries) = (now, acknowledged, deliveries);
        let recent = meter.recent();
        let line = format!(
            "{:4.0} s  {:8.0} sends/s  {:9.0} deliveries/s  ack p50 {} p99 {}  {} reconnects",
            now.duration_since(self.begun).as_secs_f64(),
            sends as f64 / seconds,
            arrivals as f64 / seconds,
            shown(&recent, 0.5),
            shown(&recent, 0.99),
            meter.reconnects.load(Ordering::Relaxed)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None if self.style == Style::Silent => {}
            // That nobody reads it is no reason to fail.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// How long nothing has happened, as far as was looked.
    pub(super) fn silence(&self) -> Duration {
        self.looked.duration_since(self.moved)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn shown(times_us: &Histogram<u64>, quantile: f64) -> String {
    match times_us.len() {
        0 => "-".to_owned(),
        _ => format!("{:.1} ms", times_us.value_at_quantile(quantile) as f64 / 1000.0),
    }
}
