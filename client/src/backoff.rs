//! How long to wait before the next attempt to connect: exponential, with full jitter, so that the clients of a server
//! that was away do not come back in step.

use std::time::Duration;

/// The waits between attempts to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait; each failed attempt doubles it. 100 ms costs a server that is gone ten packets a
    /// second and client at worst, and is hardly noticed by a person.
    pub base: Duration,
    /// No wait is longer. 10 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The wait after `failures` attempts that failed in a row; `random` is in `0.0..1.0`.
    ///
    /// Full jitter: anything from nothing to the bound, evenly.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let bound = self.base.saturating_mul(1 << doublings).min(self.max);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_the_jitter_is_full() {
        let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1) };
        let bounds_ms = [(0, 100), (1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (6, 1000), (u32::MAX, 1000)];
        for (failures, bound_ms) in bounds_ms {
            assert_eq!(backoff.delay(failures, 0.0), Duration::ZERO, "after {failures} failures");
            assert_eq!(backoff.delay(failures, 1.0), Duration::from_millis(bound_ms), "after {failures} failures");
            assert_eq!(backoff.delay(failures, 0.5), Duration::from_millis(bound_ms) / 2, "after {failures} failures");
        }
    }

    #[test]
    fn absurd_settings_give_a_wait_and_no_panic() {
        let backoff = Backoff { base: Duration::MAX, max: Duration::from_secs(3) };
        assert_eq!(backoff.delay(40, 2.0), Duration::from_secs(3));
        assert_eq!(Backoff { base: Duration::ZERO, max: Duration::ZERO }.delay(9, 0.3), Duration::ZERO);
    }
}
