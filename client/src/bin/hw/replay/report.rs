//! What a replay came to, for people and for programs.

use crate::crowd::table::two_lines;
use serde::Serialize;
use std::fmt;

/// The result of a replay. `seconds`, the rate and the latencies are those of this run's sends alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "kind", rename = "report")]
pub(crate) struct Report {
    /// Messages of the source that the server has accepted, in this run or an earlier one.
    pub(crate) messages: u64,
    /// Those of them that this run sent.
    pub(crate) sent: u64,
    /// Messages above the server's limit, which were not sent.
    pub(crate) refused: u64,
    /// Lines that are no messages.
    pub(crate) skipped: u64,
    /// Records that `messages` put before members other than the author.
    pub(crate) deliveries: u64,
    /// From the first session to the last acknowledgement.
    pub(crate) seconds: f64,
    /// `sent` per second.
    pub(crate) messages_per_second: f64,
    /// Half of the sends were acknowledged within this time, in ms.
    pub(crate) ack_p50_ms: f64,
    /// 99 of 100 sends were acknowledged within this time, in ms.
    pub(crate) ack_p99_ms: f64,
    /// Users whose timelines were read from the start.
    pub(crate) verified_users: u64,
    /// Messages received by them that were compared with the source.
    pub(crate) compared: u64,
    /// Differences: messages missing, doubled, misplaced or altered, and members missing or added.
    pub(crate) mismatches: u64,
    /// Sessions that came back after they were lost.
    pub(crate) reconnects: u64,
}

impl Report {
    /// Fills in the times of what this run sent: how long it took, and how long each acknowledgement, in µs.
    pub(crate) fn set_times(&mut self, seconds: f64, mut latencies_us: Vec<u32>) {
        latencies_us.sort_unstable();
        self.sent = latencies_us.len() as u64;
        self.seconds = (seconds * 1000.0).round() / 1000.0;
        self.messages_per_second = if seconds > 0.0 { (self.sent as f64 / seconds).round() } else { 0.0 };
        self.ack_p50_ms = percentile_ms(&latencies_us, 50);
        self.ack_p99_ms = percentile_ms(&latencies_us, 99);
    }

    /// Whether everything that was compared is as in the source, and anything was compared at all.
    pub(crate) fn is_good(&self) -> bool {
        self.mismatches == 0 && self.compared > 0
    }

    /// One JSON object.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers can always be written as JSON")
    }

    fn columns(&self) -> [(&'static str, String); 13] {
        [
            ("messages", self.messages.to_string()),
            ("sent", self.sent.to_string()),
            ("refused", self.refused.to_string()),
            ("skipped", self.skipped.to_string()),
            ("deliveries", self.deliveries.to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
            ("messages/s", format!("{:.0}", self.messages_per_second)),
            ("ack p50", format!("{:.1} ms", self.ack_p50_ms)),
            ("ack p99", format!("{:.1} ms", self.ack_p99_ms)),
            ("users", self.verified_users.to_string()),
            ("compared", self.compared.to_string()),
            ("mismatches", self.mismatches.to_string()),
            ("reconnects", self.reconnects.to_string()),
        ]
    }
}

/// The value that `percent` of the sorted values do not exceed, in ms; 0 without values.
fn percentile_ms(sorted_us: &[u32], percent: usize) -> f64 {
    let rank = (sorted_us.len() * percent).div_ceil(100).max(1) - 1;
    sorted_us.get(rank).map_or(0.0, |us| f64::from(*us) / 1000.0)
}

impl fmt::Display for Report {
    /// A table of two lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&two_lines(&self.columns()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u32> = (1..=200).map(|number| number * 1000).collect();
        assert_eq!((percentile_ms(&sorted, 50), percentile_ms(&sorted, 99)), (100.0, 198.0));
        assert_eq!((percentile_ms(&[7000], 50), percentile_ms(&[7000], 99), percentile_ms(&[], 50)), (7.0, 7.0, 0.0));
    }

    #[test]
    fn nothing_compared_is_a_failure() {
        let mut report = Report { messages: 5, ..Report::default() };
        assert!(!report.is_good());
        report.compared = 5;
        assert!(report.is_good());
        report.mismatches = 1;
        assert!(!report.is_good());
    }

    #[test]
    fn the_table_lines_up() {
        let mut report = Report { messages: 123_456_789, ..Report::default() };
        report.set_times(2.0, vec![1000, 3000]);
        assert_eq!((report.sent, report.messages_per_second), (2, 1.0));
        let table = report.to_string();
        let (heads, values) = table.split_once('\n').expect("two lines");
        assert_eq!(heads.len(), values.len());
        assert!(report.to_json().starts_with(r#"{"kind":"report","messages":123456789,"sent":2,"refused":0,"#));
    }
}
