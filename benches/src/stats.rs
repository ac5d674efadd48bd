//! Medians with their spread, and latencies.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Values of one quantity from several rounds.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Ascending.
    values: Vec<f64>,
}

/// A sample in short.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: usize,
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// A quarter is below it.
    pub lower_quartile: f64,
    /// A quarter is above it.
    pub upper_quartile: f64,
    /// The largest.
    pub max: f64,
}

impl Sample {
    /// A sample of these values; what is no number is left out.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        values.sort_unstable_by(f64::total_cmp);
        Self { values }
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The middle value; NaN if there is none.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which so large a part lies, between neighbours by proportion; NaN if there is none.
    pub fn quantile(&self, part: f64) -> f64 {
        let Some(last) = self.values.len().checked_sub(1) else { return f64::NAN };
        let place = part.clamp(0.0, 1.0) * last as f64;
        let below = self.values[place.floor() as usize];
        let above = self.values[place.ceil() as usize];
        below + (above - below) * place.fract()
    }

    /// The sample in short.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count(),
            median: self.median(),
            min: self.quantile(0.0),
            lower_quartile: self.quantile(0.25),
            upper_quartile: self.quantile(0.75),
            max: self.quantile(1.0),
        }
    }

    /// Distance of the quartiles against the median, in percent: how much the rounds differ.
    pub fn spread_percent(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / self.median().abs() * 100.0
    }
}

/// Latencies of many events, from 1 ns to a minute, with three digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds and digits are in range");
        Self { histogram }
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency below which so large a part lies, in µs; NaN if there is none.
    pub fn quantile_us(&self, part: f64) -> f64 {
        if self.histogram.is_empty() {
            return f64::NAN;
        }
        self.histogram.value_at_quantile(part) as f64 / 1e3
    }

    /// The median, in µs.
    pub fn p50_us(&self) -> f64 {
        self.quantile_us(0.5)
    }

    /// One in a hundred is above it, in µs.
    pub fn p99_us(&self) -> f64 {
        self.quantile_us(0.99)
    }

    /// One in a thousand is above it, in µs.
    pub fn p999_us(&self) -> f64 {
        self.quantile_us(0.999)
    }

    /// The largest, in µs.
    pub fn max_us(&self) -> f64 {
        self.quantile_us(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let sample = Sample::new([4.0, 1.0, 2.0, f64::NAN, 3.0]);
        assert_eq!((sample.count(), sample.median()), (4, 2.5));
        assert_eq!((sample.quantile(0.0), sample.quantile(1.0)), (1.0, 4.0));
        assert!(Sample::default().median().is_nan());
    }

    #[test]
    fn latencies_tell_the_tail() {
        let mut latencies = Latencies::default();
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        assert!((latencies.p50_us() - 500.0).abs() < 2.0, "{}", latencies.p50_us());
        assert!((latencies.p99_us() - 990.0).abs() < 2.0, "{}", latencies.p99_us());
    }
}
