//! What is run, in which sizes, and how it is told: one function a table.

use super::plan::{Idle, Job, Outcome, Pushes, Quantiles, Sends, Time};
use super::servers::{Kind, Programs};
use super::{DEVICES_PER_GROUP_MAX, Fallible};
use crate::context::Context;
use crate::pair::{Rounds, Variant, interleave};
use crate::plot::{Axis, Plot};
use crate::report::{Bound, Cell, Report, Table};
use crate::stats::Sample;
use std::time::Instant;

const HIGHWATER: &str = Kind::Highwater.name();
const BARE: &str = Kind::Bare.name();

/// Bytes of every body.
pub(super) const BODY_BYTES: usize = 200;
/// Unanswered requests of a connection, as far as that makes no more than [`IN_FLIGHT_IN_ALL`].
pub(super) const IN_FLIGHT: usize = 16;
const IN_FLIGHT_IN_ALL: usize = 1_600;
/// Connections of the arrangement that the targets name.
pub(super) const CONNECTIONS: usize = 100;
/// Devices of the arrangement that the targets name; the quick run has fewer.
const DEVICES: usize = 1_000;
const DEVICES_QUICK: usize = 100;
/// Messages of a group that some member does not have yet.
pub(super) const WINDOW: usize = 16;
/// With so many devices one round takes so long that there is only one.
const ONE_ROUND_FROM: usize = 10_000;

/// What all tables are made with.
pub(crate) struct Bench<'a> {
    pub(crate) context: &'a Context,
    pub(crate) programs: Programs,
    pub(crate) until: Instant,
}

impl Bench<'_> {
    /// A job on both servers in turns, each time on a new one.
    fn paired(&self, rounds: usize, job: &Job) -> Fallible<Rounds<Outcome>> {
        let variant = |kind: Kind| {
            Variant::new(kind.name(), move |_| {
                let server = self.programs.start(kind, self.context.scratch()?)?;
                self.programs.load(&server, job.clone())
            })
        };
        interleave(rounds, self.until, &mut [variant(Kind::Bare), variant(Kind::Highwater)])
    }

    pub(super) fn rounds(&self, devices: usize) -> usize {
        if devices >= ONE_ROUND_FROM { 1 } else { self.context.pick(3, 1) }
    }

    pub(super) fn time(&self) -> Time {
        Time { warmup_ms: self.context.pick(1_000, 300), measure_ms: self.context.pick(4_000, 1_500) }
    }

    /// Devices of the group that is looked at most closely.
    pub(super) fn group_devices(&self) -> usize {
        self.context.pick(DEVICES, DEVICES_QUICK)
    }

    fn sends(&self, connections: usize, rate_per_s: Option<f64>) -> Fallible<Rounds<Outcome>> {
        let in_flight = in_flight(connections);
        let job = Job::Sends(Sends { connections, in_flight, body_bytes: BODY_BYTES, rate_per_s, time: self.time() });
        self.paired(self.rounds(connections), &job)
    }

    fn pushes(&self, devices: usize, window: usize, rate_per_s: Option<f64>) -> Fallible<Rounds<Outcome>> {
        let groups = devices.div_ceil(DEVICES_PER_GROUP_MAX);
        let (body_bytes, time) = (BODY_BYTES, self.time());
        let job = Job::Pushes(Pushes { devices, groups, window, body_bytes, rate_per_s, time });
        self.paired(self.rounds(devices), &job)
    }
}

fn in_flight(connections: usize) -> usize {
    (IN_FLIGHT_IN_ALL / connections).clamp(1, IN_FLIGHT)
}

/// Durable sends and their receipts beside an echo.
pub(crate) fn sends(bench: &Bench<'_>, report: &mut Report) -> Fallible<()> {
    let sizes: &[usize] = bench.context.pick(&[1, 100, 1_000, 10_000], &[CONNECTIONS]);
    let mut speed = Table::new(
        "Direct sends, as many as go",
        &[
            "connections",
            "in flight each",
            "sends/s",
            "bare echo/s",
            "ratio",
            "ack p50 µs",
            "p99",
            "p999",
            "bare p50",
            "p99",
        ],
    );
    let mut cpu = Table::new(
        "CPU of a direct send, µs",
        &[
            "connections",
            "server",
            "bare",
            "above bare",
            "generator",
            "server busy, %",
            "bare busy, %",
            "drops/s",
            "bare drops/s",
        ],
    );
    let mut points = Points::default();
    let mut half_rate = f64::NAN;
    for &connections in sizes {
        let rounds = bench.sends(connections, None)?;
        let of = |kind: &str, quantity: fn(&Outcome) -> f64| rounds.sample(kind, quantity);
        let ratio = rounds.ratio(HIGHWATER, BARE, Outcome::sends_per_s);
        let above = difference(&rounds, Outcome::cpu_us_per_send);
        points.add(connections, &rounds, Outcome::sends_per_s);
        if connections == CONNECTIONS {
            half_rate = of(HIGHWATER, Outcome::sends_per_s).median() / 2.0;
            report.check("server CPU per send above the bare echo, µs", above.median(), Bound::AtMost(3.0));
            report.check("sends/s against the bare echo", ratio.median(), Bound::AtLeast(0.5));
        }
        speed.row([
            connections.into(),
            in_flight(connections).into(),
            of(HIGHWATER, Outcome::sends_per_s).into(),
            of(BARE, Outcome::sends_per_s).into(),
            ratio.into(),
            of(HIGHWATER, |outcome| outcome.ack.p50).into(),
            of(HIGHWATER, |outcome| outcome.ack.p99).into(),
            of(HIGHWATER, |outcome| outcome.ack.p999).into(),
            of(BARE, |outcome| outcome.ack.p50).into(),
            of(BARE, |outcome| outcome.ack.p99).into(),
        ]);
        cpu.row([
            connections.into(),
            of(HIGHWATER, Outcome::cpu_us_per_send).into(),
            of(BARE, Outcome::cpu_us_per_send).into(),
            above.into(),
            of(HIGHWATER, |outcome| outcome.load_cpu_s / outcome.sends as f64 * 1e6).into(),
            of(HIGHWATER, Outcome::server_percent).into(),
            of(BARE, Outcome::server_percent).into(),
            of(HIGHWATER, Outcome::dropped_per_s).into(),
            of(BARE, Outcome::dropped_per_s).into(),
        ]);
    }
    report.table(speed);
    report.table(cpu);
    report.plot(points.plot("sends", "Durable direct sends over QUIC", "connections", "sends/s"));
    let rounds = bench.sends(CONNECTIONS, Some(half_rate))?;
    let title =
        format!("Receipts by the clock: {half_rate:.0} sends/s on {CONNECTIONS} connections, half of what goes");
    report.table(latencies(title, &rounds, |outcome| outcome.ack));
    Ok(())
}

/// Deliveries to devices that listen beside bare pushes.
pub(crate) fn pushes(bench: &Bench<'_>, report: &mut Report) -> Fallible<()> {
    let full: &[(usize, usize)] = &[(1, WINDOW), (100, WINDOW), (DEVICES, WINDOW), (DEVICES, 1), (10_000, WINDOW)];
    let sizes = bench.context.pick(full, &[(DEVICES_QUICK, WINDOW)]);
    let named = bench.group_devices();
    let mut speed = Table::new(
        format!("Deliveries in groups of at most {DEVICES_PER_GROUP_MAX} devices"),
        &[
            "devices",
            "messages under way",
            "deliveries/s",
            "bare pushes/s",
            "ratio",
            "p50 µs",
            "p99",
            "p999",
            "bare p50",
            "p99",
        ],
    );
    let mut cpu = Table::new(
        "CPU of a delivery, µs",
        &[
            "devices",
            "server",
            "bare",
            "generator",
            "records a frame",
            "bare",
            "server busy, %",
            "bare busy, %",
            "drops/s",
            "bare drops/s",
        ],
    );
    let mut points = Points::default();
    let mut half_rate = f64::NAN;
    for &(devices, window) in sizes {
        let rounds = bench.pushes(devices, window, None)?;
        let of = |kind: &str, quantity: fn(&Outcome) -> f64| rounds.sample(kind, quantity);
        let ratio = rounds.ratio(HIGHWATER, BARE, Outcome::deliveries_per_s);
        if window == WINDOW {
            points.add(devices, &rounds, Outcome::deliveries_per_s);
        }
        if (devices, window) == (named, WINDOW) {
            half_rate = of(HIGHWATER, Outcome::sends_per_s).median() / 2.0;
            let what = format!("deliveries/s to {devices} devices of a group against bare pushes");
            report.check(what, ratio.median(), Bound::AtLeast(0.6));
        }
        speed.row([
            devices.into(),
            window.into(),
            of(HIGHWATER, Outcome::deliveries_per_s).into(),
            of(BARE, Outcome::deliveries_per_s).into(),
            ratio.into(),
            of(HIGHWATER, |outcome| outcome.delivery.p50).into(),
            of(HIGHWATER, |outcome| outcome.delivery.p99).into(),
            of(HIGHWATER, |outcome| outcome.delivery.p999).into(),
            of(BARE, |outcome| outcome.delivery.p50).into(),
            of(BARE, |outcome| outcome.delivery.p99).into(),
        ]);
        cpu.row([
            devices.into(),
            of(HIGHWATER, Outcome::cpu_us_per_delivery).into(),
            of(BARE, Outcome::cpu_us_per_delivery).into(),
            of(HIGHWATER, |outcome| outcome.load_cpu_s / outcome.deliveries as f64 * 1e6).into(),
            of(HIGHWATER, Outcome::records_per_delta).into(),
            of(BARE, Outcome::records_per_delta).into(),
            of(HIGHWATER, Outcome::server_percent).into(),
            of(BARE, Outcome::server_percent).into(),
            of(HIGHWATER, Outcome::dropped_per_s).into(),
            of(BARE, Outcome::dropped_per_s).into(),
        ]);
    }
    report.table(speed);
    report.table(cpu);
    report.plot(points.plot("deliveries", "Deliveries over QUIC", "connected devices", "deliveries/s"));
    let rounds = bench.pushes(named, WINDOW, Some(half_rate))?;
    let title = format!("Deliveries by the clock: {half_rate:.1} messages/s to {named} devices, half of what goes");
    report.table(latencies(title, &rounds, |outcome| outcome.delivery));
    Ok(())
}

/// Memory of devices that are connected and to which nothing happens.
pub(crate) fn idle(bench: &Bench<'_>, report: &mut Report) -> Fallible<()> {
    let steps = bench.context.pick(vec![100, 1_000, 10_000], vec![100, 600]);
    let settle_ms = bench.context.pick(2_500, 1_000);
    let rounds = bench.paired(bench.context.pick(2, 1), &Job::Idle(Idle { steps: steps.clone(), settle_ms }))?;
    let mut table = Table::new(
        "Connected devices to which nothing happens",
        &["devices", "server MiB", "bare MiB", "KiB a device", "bare", "above bare", "CPU, % of a core", "bare"],
    );
    for (step, &devices) in steps.iter().enumerate() {
        let mib = |outcome: &Outcome| outcome.memory[step].bytes as f64 / f64::from(1 << 20);
        let cpu = |outcome: &Outcome| outcome.memory[step].cpu * 100.0;
        let kib = |outcome: &Outcome| outcome.kib_per_device(step);
        let above = difference(&rounds, kib);
        if step + 1 == steps.len() {
            report.check("memory of an idle device above a bare connection, KiB", above.median(), Bound::AtMost(8.0));
        }
        // The first step is what the others are compared with.
        let slope = |sample: Sample| if step == 0 { Cell::Nothing } else { sample.into() };
        table.row([
            devices.into(),
            rounds.sample(HIGHWATER, mib).into(),
            rounds.sample(BARE, mib).into(),
            slope(rounds.sample(HIGHWATER, kib)),
            slope(rounds.sample(BARE, kib)),
            slope(above),
            rounds.sample(HIGHWATER, cpu).into(),
            rounds.sample(BARE, cpu).into(),
        ]);
    }
    report.table(table);
    Ok(())
}

fn latencies(title: String, rounds: &Rounds<Outcome>, of: fn(&Outcome) -> Quantiles) -> Table {
    let mut table = Table::new(title, &["server", "p50 µs", "p99", "p999", "busy, %", "held back"]);
    for kind in [HIGHWATER, BARE] {
        table.row([
            kind.into(),
            rounds.sample(kind, |outcome| of(outcome).p50).into(),
            rounds.sample(kind, |outcome| of(outcome).p99).into(),
            rounds.sample(kind, |outcome| of(outcome).p999).into(),
            rounds.sample(kind, Outcome::server_percent).into(),
            rounds.sample(kind, |outcome| outcome.held_back as f64).into(),
        ]);
    }
    table
}

/// How much Highwater takes above the bare server, round by round.
fn difference(rounds: &Rounds<Outcome>, quantity: impl Fn(&Outcome) -> f64) -> Sample {
    let pairs = rounds.of(HIGHWATER).zip(rounds.of(BARE));
    Sample::new(pairs.map(|(highwater, bare)| quantity(highwater) - quantity(bare)))
}

/// A quantity of both servers by the number of devices.
#[derive(Default)]
struct Points {
    highwater: Vec<(f64, f64)>,
    bare: Vec<(f64, f64)>,
}

impl Points {
    fn add(&mut self, devices: usize, rounds: &Rounds<Outcome>, quantity: fn(&Outcome) -> f64) {
        self.highwater.push((devices as f64, rounds.sample(HIGHWATER, quantity).median()));
        self.bare.push((devices as f64, rounds.sample(BARE, quantity).median()));
    }

    fn plot(self, name: &str, title: &str, x: &str, y: &str) -> Plot {
        let mut plot = Plot::new(name, title, Axis::logarithmic(x), Axis::linear(y));
        plot.line(HIGHWATER, self.highwater);
        plot.line(BARE, self.bare);
        plot
    }
}
