//! The time of records: never back, and never far ahead of the time that has really passed.
//!
//! A clock that jumps forward and back cannot pin the future for longer than the leap that it is allowed. What was
//! leapt is allowed again as time passes, so that a clock that was right to jump (the machine slept) is caught up with
//! in the end.

use std::time::Instant;

/// How far time may leap beyond what has really passed, in ms.
const LEAP_MS_MAX: u64 = 60_000;

/// The time of the records so far.
#[derive(Debug)]
pub(super) struct RecordTime {
    /// The last time given, in ms since 1970.
    last_ms: u64,
    /// Where time stood when it was last looked at, in µs since 1970, and when that was; before the first record after
    /// opening the clock is all there is to go by.
    stood: Option<(u64, Instant)>,
    /// How far it may still leap, in µs.
    leap_us: u64,
}

impl RecordTime {
    /// Time goes on from that of the last record, in ms since 1970.
    pub(super) fn new(last_ms: u64) -> Self {
        Self { last_ms, stood: None, leap_us: LEAP_MS_MAX * 1_000 }
    }

    /// The time of a record, now that the clock shows `clock_ms` since 1970.
    pub(super) fn next(&mut self, clock_ms: u64, now: Instant) -> u64 {
        let clock_us = clock_ms.saturating_mul(1_000);
        let stands_us = self.stood.map_or(clock_us, |(stood_us, at)| {
            let passed_us = u64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u64::MAX);
            let expected_us = stood_us.saturating_add(passed_us);
            let leap_us = clock_us.saturating_sub(expected_us).min(self.leap_us);
            self.leap_us = (self.leap_us - leap_us).saturating_add(passed_us).min(LEAP_MS_MAX * 1_000);
            // The clock has a resolution of a millisecond: it may well be so far on.
            expected_us.saturating_add(leap_us).min(clock_us.saturating_add(999))
        });
        self.last_ms = self.last_ms.max(stands_us / 1_000);
        self.stood = Some((stands_us.max(self.last_ms.saturating_mul(1_000)), now));
        self.last_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn many_looks_at_a_clock_that_jumped_leap_no_further_than_one() {
        let now = Instant::now();
        let mut time = RecordTime::new(500);
        assert_eq!(time.next(1_000, now), 1_000);
        for _ in 0..1_000 {
            assert!(time.next(1_000_000_000, now) <= 1_000 + LEAP_MS_MAX);
        }
        assert_eq!(time.next(1_000, now), 1_000 + LEAP_MS_MAX, "never back");
        assert_eq!(time.next(70_000, now + Duration::from_secs(69)), 70_000, "the right time is soon reached again");
    }

    #[test]
    fn it_keeps_up_with_a_good_clock_however_often_it_is_looked_at() {
        let begin = Instant::now();
        for step_us in [1, 333, 800, 999, 1_000, 1_500, 70_000] {
            let mut time = RecordTime::new(0);
            // More than the leaps that are allowed could make up for.
            for look in 0..200_000 {
                let passed_us = look * step_us;
                let clock_ms = (1_700_000_000_000_900 + passed_us) / 1_000;
                assert_eq!(time.next(clock_ms, begin + Duration::from_micros(passed_us)), clock_ms);
            }
            assert!(time.leap_us > LEAP_MS_MAX * 1_000 - 2_000, "{step_us}: {}", time.leap_us);
        }
    }

    #[test]
    fn a_clock_that_was_right_to_jump_is_caught_up_with() {
        let begin = Instant::now();
        let mut time = RecordTime::new(0);
        time.next(0, begin);
        let hour_ms = 3_600_000;
        let mut last = 0;
        for second in 1..=3_700 {
            let clock_ms = hour_ms + second * 1_000;
            last = clock_ms - time.next(clock_ms, begin + Duration::from_secs(second));
        }
        assert_eq!(last, 0);
    }

    #[test]
    fn no_clock_overflows() {
        let now = Instant::now();
        let mut time = RecordTime::new(u64::MAX);
        for clock_ms in [0, u64::MAX, u64::MAX - 1, 1] {
            assert_eq!(time.next(clock_ms, now), u64::MAX);
        }
    }
}
