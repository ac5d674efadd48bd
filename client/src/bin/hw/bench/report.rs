//! What a benchmark came to, for people and for programs.

use super::ending::Found;
use super::run::Run;
use crate::crowd::table::two_lines;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

/// The result of a benchmark. `docs/bench-workload.md` says what each field means.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "kind", rename = "bench")]
pub(super) struct Report {
    pub(super) mark: String,
    pub(super) users: usize,
    pub(super) groups: usize,
    pub(super) devices_online: usize,
    pub(super) senders: usize,
    pub(super) in_flight: usize,
    pub(super) rate_per_second: Option<f64>,
    pub(super) seconds: f64,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) unsent: u64,
    pub(super) unanswered: u64,
    pub(super) deliveries: u64,
    pub(super) sends_per_second: f64,
    pub(super) deliveries_per_second: f64,
    pub(super) ack_p50_ms: f64,
    pub(super) ack_p99_ms: f64,
    pub(super) ack_p999_ms: f64,
    pub(super) ack_max_ms: f64,
    pub(super) delivery_p50_ms: f64,
    pub(super) delivery_p99_ms: f64,
    pub(super) delivery_p999_ms: f64,
    pub(super) delivery_max_ms: f64,
    pub(super) reconnects: u64,
    pub(super) catch_ups: u64,
    pub(super) catch_up_p50_ms: f64,
    pub(super) catch_up_p99_ms: f64,
    pub(super) catch_up_max_ms: f64,
    pub(super) retried: u64,
    pub(super) repeated: u64,
    pub(super) resets: u64,
    pub(super) errors: BTreeMap<&'static str, u64>,
    pub(super) duplicates: u64,
    pub(super) order_violations: u64,
    pub(super) missing: u64,
    pub(super) incomplete: u64,
}

impl Report {
    /// What the run's meter says, and what its readers found.
    pub(super) fn new(run: &Run, found: &Found) -> Self {
        let (workload, meter) = (&run.plan.workload, &run.meter);
        let (measured, times) = (meter.measured(), meter.times());
        let ms = |times_us: &Histogram<u64>, quantile| times_us.value_at_quantile(quantile) as f64 / 1000.0;
        let max_ms = |times_us: &Histogram<u64>| times_us.max() as f64 / 1000.0;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            mark: run.plan.mark().to_owned(),
            users: workload.users,
            groups: run.plan.group_count(),
            devices_online: workload.devices_online,
            senders: workload.senders,
            in_flight: workload.in_flight,
            rate_per_second: workload.rate_per_second,
            seconds: (measured.seconds * 1000.0).round() / 1000.0,
            sent: count(&meter.sent),
            acknowledged: count(&meter.acknowledged),
            failed: count(&meter.failed),
            unsent: count(&meter.unsent),
            unanswered: meter.unanswered(),
            deliveries: count(&meter.deliveries),
            sends_per_second: rate(measured.acknowledged, measured.seconds),
            deliveries_per_second: rate(measured.deliveries, measured.delivery_seconds),
            ack_p50_ms: ms(&times.ack, 0.5),
            ack_p99_ms: ms(&times.ack, 0.99),
            ack_p999_ms: ms(&times.ack, 0.999),
            ack_max_ms: max_ms(&times.ack),
            delivery_p50_ms: ms(&times.delivery, 0.5),
            delivery_p99_ms: ms(&times.delivery, 0.99),
            delivery_p999_ms: ms(&times.delivery, 0.999),
            delivery_max_ms: max_ms(&times.delivery),
            reconnects: count(&meter.reconnects),
            catch_ups: times.catch_up.len(),
            catch_up_p50_ms: ms(&times.catch_up, 0.5),
            catch_up_p99_ms: ms(&times.catch_up, 0.99),
            catch_up_max_ms: max_ms(&times.catch_up),
            retried: count(&meter.retried),
            repeated: count(&meter.repeated),
            resets: count(&meter.resets),
            errors: meter.errors(),
            duplicates: found.violations.duplicates,
            order_violations: found.violations.order,
            missing: found.violations.missing,
            incomplete: found.incomplete,
        }
    }

    /// How often a promise was broken.
    pub(super) fn violations(&self) -> u64 {
        self.duplicates + self.order_violations + self.missing
    }

    /// One JSON object.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers can always be written as JSON")
    }

    fn errors_text(&self) -> String {
        let each: Vec<String> = self.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
        if each.is_empty() { "none".to_owned() } else { each.join(", ") }
    }
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

impl fmt::Display for Report {
    /// Tables of two lines each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |value: f64| format!("{value:.2} ms");
        let rate = self.rate_per_second.map_or_else(|| "-".to_owned(), |rate| rate.to_string());
        let tables = [
            vec![
                ("users", self.users.to_string()),
                ("groups", self.groups.to_string()),
                ("online", self.devices_online.to_string()),
                ("senders", self.senders.to_string()),
                ("in flight", self.in_flight.to_string()),
                ("rate", rate),
            ],
            vec![
                ("seconds", format!("{:.1}", self.seconds)),
                ("sent", self.sent.to_string()),
                ("acknowledged", self.acknowledged.to_string()),
                ("sends/s", format!("{:.0}", self.sends_per_second)),
                ("deliveries", self.deliveries.to_string()),
                ("deliveries/s", format!("{:.0}", self.deliveries_per_second)),
            ],
            vec![
                ("ack p50", ms(self.ack_p50_ms)),
                ("p99", ms(self.ack_p99_ms)),
                ("p999", ms(self.ack_p999_ms)),
                ("max", ms(self.ack_max_ms)),
                ("delivery p50", ms(self.delivery_p50_ms)),
                ("p99", ms(self.delivery_p99_ms)),
                ("p999", ms(self.delivery_p999_ms)),
                ("max", ms(self.delivery_max_ms)),
            ],
            vec![
                ("reconnects", self.reconnects.to_string()),
                ("catch-ups", self.catch_ups.to_string()),
                ("p50", ms(self.catch_up_p50_ms)),
                ("p99", ms(self.catch_up_p99_ms)),
                ("max", ms(self.catch_up_max_ms)),
                ("resets", self.resets.to_string()),
            ],
            vec![
                ("failed", self.failed.to_string()),
                ("unsent", self.unsent.to_string()),
                ("unanswered", self.unanswered.to_string()),
                ("retried", self.retried.to_string()),
                ("repeated", self.repeated.to_string()),
                ("duplicates", self.duplicates.to_string()),
                ("order", self.order_violations.to_string()),
                ("missing", self.missing.to_string()),
                ("incomplete", self.incomplete.to_string()),
            ],
        ];
        for table in tables {
            writeln!(f, "{}\n", two_lines(&table))?;
        }
        write!(f, "errors: {}", self.errors_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let report = Report { sent: 12, errors: BTreeMap::from([("busy", 2), ("replaced", 1)]), ..Report::default() };
        assert!(report.to_json().starts_with(r#"{"kind":"bench","mark":"","users":0,"#), "{}", report.to_json());
        assert!(report.to_json().contains(r#""errors":{"busy":2,"replaced":1}"#));
        let text = report.to_string();
        assert!(text.ends_with("errors: busy 2, replaced 1") && text.lines().any(|line| line.contains("acknowledged")));
    }
}
