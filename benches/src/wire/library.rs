//! The same server under `hw bench`: clients as applications have them, with a queue, receipts, checkpoints and checks.
//!
//! The library takes at least as much CPU for a message as the server does, so that of two cores both are full. What
//! stands here is what applications see, and not how much the server could take.

use super::Fallible;
use super::servers::Kind;
use super::tables::{BODY_BYTES, Bench, CONNECTIONS, IN_FLIGHT, WINDOW};
use crate::pair::{Rounds, Variant, interleave};
use crate::report::{Cell, Report, Table};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const HW_BENCH: &str = "hw bench";

/// Who is connected, and what they send.
struct Shape {
    name: String,
    workload: Value,
    /// What ends a run in which as many go as go.
    length: Value,
    /// Devices that a message comes to, its author's left out.
    receivers: usize,
}

/// What `hw bench` reports, as far as it is shown.
#[derive(Clone, Debug, Default, Deserialize)]
struct Driven {
    sends_per_second: f64,
    deliveries_per_second: f64,
    ack_p50_ms: f64,
    ack_p99_ms: f64,
    ack_p999_ms: f64,
    delivery_p50_ms: f64,
    delivery_p99_ms: f64,
    delivery_p999_ms: f64,
}

/// A column, and what stands in it.
type Column = (&'static str, fn(&Driven) -> f64);

const COLUMNS: [Column; 8] = [
    ("sends/s", |driven| driven.sends_per_second),
    ("deliveries/s", |driven| driven.deliveries_per_second),
    ("ack p50 µs", |driven| driven.ack_p50_ms * 1e3),
    ("p99", |driven| driven.ack_p99_ms * 1e3),
    ("p999", |driven| driven.ack_p999_ms * 1e3),
    ("delivery p50 µs", |driven| driven.delivery_p50_ms * 1e3),
    ("p99", |driven| driven.delivery_p99_ms * 1e3),
    ("p999", |driven| driven.delivery_p999_ms * 1e3),
];

/// Each shape with as many messages as go, and with half of them by the clock.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Fallible<()> {
    let columns: Vec<&str> = ["workload", "rate"].into_iter().chain(COLUMNS.map(|(name, _)| name)).collect();
    let mut table = Table::new("Driven by `hw bench`, the client library", &columns);
    for shape in [direct(bench), group(bench)] {
        let most = drive(bench, with(&shape.workload, &shape.length))?;
        row(&mut table, &shape.name, "as many as go".to_owned(), &most);
        let rate = most.sample(HW_BENCH, |driven| driven.goes_per_s(shape.receivers)).median() / 2.0;
        let by_clock = with(&seconds(bench), &json!({"rate_per_second": rate}));
        let half = drive(bench, with(&shape.workload, &by_clock))?;
        row(&mut table, &shape.name, format!("half of what goes: {rate:.0}/s"), &half);
    }
    report.table(table);
    report.note(
        "`hw bench`: what goes is what is both sent and delivered. By the clock, each message goes out alone rather than with \
         others of its sender, and latencies count from when it was due; if fewer were sent than the clock asked for, they \
         waited",
    );
    Ok(())
}

/// Everybody sends to ten others, and reads.
fn direct(bench: &Bench<'_>) -> Shape {
    Shape {
        name: format!("direct, {CONNECTIONS} senders x {IN_FLIGHT} in flight"),
        workload: json!({
            "users": CONNECTIONS, "senders": CONNECTIONS, "in_flight": IN_FLIGHT,
            "body_bytes": BODY_BYTES, "direct": {"share": 1}
        }),
        length: seconds(bench),
        receivers: 1,
    }
}

/// One sends, and everybody reads. A run ends with a number of messages, not after a time: acknowledgements do not wait
/// for deliveries, and how far sends get ahead of them is up to the server.
fn group(bench: &Bench<'_>) -> Shape {
    let members = bench.group_devices();
    Shape {
        name: format!("a group of {members}"),
        workload: json!({
            "users": members, "senders": 1, "in_flight": WINDOW,
            "body_bytes": BODY_BYTES, "groups": [{"members": members}]
        }),
        length: json!({"messages": bench.context.pick(3_000_000, 500_000) / members}),
        receivers: members - 1,
    }
}

/// As long as the other tables measure.
fn seconds(bench: &Bench<'_>) -> Value {
    let time = bench.time();
    json!({"warmup_seconds": time.warmup_ms as f64 / 1e3, "seconds": time.measure_ms as f64 / 1e3})
}

/// The fields of both.
fn with(some: &Value, more: &Value) -> Value {
    let fields = [some, more].into_iter().filter_map(Value::as_object).flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

/// Some rounds, each with a new server.
fn drive(bench: &Bench<'_>, workload: Value) -> Fallible<Rounds<Driven>> {
    let variant = Variant::new(HW_BENCH, |_| {
        let server = bench.programs.start(Kind::Highwater, bench.context.scratch()?)?;
        Ok(serde_json::from_slice(&bench.programs.hw_bench(&server, &workload)?)?)
    });
    interleave(bench.rounds(CONNECTIONS), bench.until, &mut [variant])
}

fn row(table: &mut Table, name: &str, rate: String, rounds: &Rounds<Driven>) {
    let measured = COLUMNS.map(|(_, quantity)| Cell::from(rounds.sample(HW_BENCH, quantity)));
    table.row([name.into(), rate.into()].into_iter().chain(measured));
}

impl Driven {
    /// Messages per second that are both sent and delivered.
    fn goes_per_s(&self, receivers: usize) -> f64 {
        self.sends_per_second.min(self.deliveries_per_second / receivers as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_what_is_sent_and_delivered() {
        let driven = |sends_per_second, deliveries_per_second| Driven {
            sends_per_second,
            deliveries_per_second,
            ..Driven::default()
        };
        assert_eq!(driven(900.0, 1_000.0).goes_per_s(1), 900.0);
        assert_eq!(driven(900.0, 3_000.0).goes_per_s(10), 300.0);
    }

    #[test]
    fn later_fields_are_added() {
        let both = with(&json!({"users": 3, "senders": 2}), &json!({"seconds": 1}));
        assert_eq!(both, json!({"users": 3, "senders": 2, "seconds": 1}));
    }
}
