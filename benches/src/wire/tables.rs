//! What is run, in which sizes, and how it is told: one function a table.

use super::plan::{Idle, Job, Outcome, Pushes, Sends, Time};
use super::servers::{Kind, Programs};
use super::{DEVICES_PER_GROUP_MAX, Fallible};
use crate::context::Context;
use crate::pair::{Rounds, Variant, interleave};
use crate::report::{Bound, Cell, Report, Table};
use crate::stats::Sample;
use std::time::Instant;

const HIGHWATER: &str = Kind::Highwater.name();
const BARE: &str = Kind::Bare.name();

/// Bytes of every body.
const BODY_BYTES: usize = 200;
/// Unanswered requests of a connection, as far as that makes no more than [`IN_FLIGHT_IN_ALL`].
const IN_FLIGHT: usize = 16;
const IN_FLIGHT_IN_ALL: usize = 1_600;
/// Connections of the arrangement that the targets name.
const CONNECTIONS: usize = 100;
/// Devices of the arrangement that the targets name.
const DEVICES: usize = 1_000;
/// Messages of a group that some member does not have yet.
const WINDOW: usize = 16;

/// What all tables are made with.
pub(crate) struct Bench<'a> {
    pub(crate) context: &'a Context,
    pub(crate) programs: Programs,
    pub(crate) rounds: usize,
    pub(crate) until: Instant,
}

impl Bench<'_> {
    fn time(&self) -> Time {
        Time { warmup_ms: self.context.pick(1_000, 500), measure_ms: self.context.pick(4_000, 2_000) }
    }

    /// One job on a new server.
    pub(crate) fn once(&self, kind: Kind, job: &Job) -> Fallible<Outcome> {
        let server = self.programs.start(kind, self.context.scratch()?)?;
        self.programs.load(&server, job.clone())
    }

    /// A job on both servers in turns.
    fn paired(&self, job: &Job) -> Fallible<Rounds<Outcome>> {
        let variant = |kind: Kind| Variant::new(kind.name(), move |_| self.once(kind, job));
        interleave(self.rounds, self.until, &mut [variant(Kind::Bare), variant(Kind::Highwater)])
    }

    fn sends_job(&self, connections: usize, rate_per_s: Option<f64>) -> Job {
        let in_flight = in_flight(connections);
        Job::Sends(Sends { connections, in_flight, body_bytes: BODY_BYTES, rate_per_s, time: self.time() })
    }

    fn pushes_job(&self, devices: usize, rate_per_s: Option<f64>) -> Job {
        let groups = devices.div_ceil(DEVICES_PER_GROUP_MAX);
        let (body_bytes, time) = (BODY_BYTES, self.time());
        Job::Pushes(Pushes { devices, groups, window: WINDOW, body_bytes, rate_per_s, time })
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
        &["connections", "server", "bare", "above bare", "generator", "server's core, %", "bare's", "generator's"],
    );
    let mut half_rate = f64::NAN;
    for &connections in sizes {
        let rounds = bench.paired(&bench.sends_job(connections, None))?;
        let ratio = rounds.ratio(HIGHWATER, BARE, Outcome::sends_per_s);
        let of = |kind: &str, quantity: fn(&Outcome) -> f64| rounds.sample(kind, quantity);
        let above = difference(&rounds, Outcome::cpu_us_per_send);
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
            of(HIGHWATER, Outcome::load_percent).into(),
        ]);
    }
    report.table(speed);
    report.table(cpu);
    let rounds = bench.paired(&bench.sends_job(CONNECTIONS, Some(half_rate)))?;
    report.table(latencies(
        &format!("Direct sends by the clock, {half_rate:.0}/s on {CONNECTIONS} connections: half of what goes"),
        &rounds,
        |outcome| outcome.ack,
    ));
    Ok(())
}

/// Deliveries to devices that listen beside bare pushes.
pub(crate) fn pushes(bench: &Bench<'_>, report: &mut Report) -> Fallible<()> {
    let sizes: &[usize] = bench.context.pick(&[1, 100, 1_000, 10_000], &[100]);
    let named = bench.context.pick(DEVICES, 100);
    let mut speed = Table::new(
        format!("Deliveries in groups of at most {DEVICES_PER_GROUP_MAX}, {WINDOW} messages on their way in each"),
        &[
            "devices",
            "deliveries/s",
            "bare pushes/s",
            "ratio",
            "records a frame",
            "bare",
            "latency p50 µs",
            "p99",
            "p999",
            "bare p50",
            "p99",
        ],
    );
    let mut cpu = Table::new(
        "CPU of a delivery, µs",
        &["devices", "server", "bare", "generator", "server's core, %", "bare's", "generator's"],
    );
    let mut half_rate = f64::NAN;
    for &devices in sizes {
        let rounds = bench.paired(&bench.pushes_job(devices, None))?;
        let ratio = rounds.ratio(HIGHWATER, BARE, Outcome::deliveries_per_s);
        let of = |kind: &str, quantity: fn(&Outcome) -> f64| rounds.sample(kind, quantity);
        if devices == named {
            half_rate = of(HIGHWATER, Outcome::sends_per_s).median() / 2.0;
            let what = format!("deliveries/s to {devices} devices of a group against bare pushes");
            report.check(what, ratio.median(), Bound::AtLeast(0.6));
        }
        speed.row([
            devices.into(),
            of(HIGHWATER, Outcome::deliveries_per_s).into(),
            of(BARE, Outcome::deliveries_per_s).into(),
            ratio.into(),
            of(HIGHWATER, |outcome| outcome.deliveries as f64 / outcome.deltas as f64).into(),
            of(BARE, |outcome| outcome.deliveries as f64 / outcome.deltas as f64).into(),
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
            of(HIGHWATER, Outcome::server_percent).into(),
            of(BARE, Outcome::server_percent).into(),
            of(HIGHWATER, Outcome::load_percent).into(),
        ]);
    }
    report.table(speed);
    report.table(cpu);
    let rounds = bench.paired(&bench.pushes_job(named, Some(half_rate)))?;
    report.table(latencies(
        &format!("Deliveries by the clock, {half_rate:.1} messages/s to {named} devices: half of what goes"),
        &rounds,
        |outcome| outcome.delivery,
    ));
    Ok(())
}

/// Memory of devices that are connected and to which nothing happens.
pub(crate) fn idle(bench: &Bench<'_>, report: &mut Report) -> Fallible<()> {
    let steps = bench.context.pick(vec![100, 1_000, 10_000], vec![100, 600]);
    let settle_ms = bench.context.pick(4_000, 1_500);
    let job = Job::Idle(Idle { steps: steps.clone(), settle_ms });
    let rounds = bench.paired(&job)?;
    let mut table = Table::new(
        "Memory and CPU of connected devices to which nothing happens",
        &["devices", "server MiB", "bare MiB", "KiB a device", "bare", "above bare", "CPU, % of a core", "bare"],
    );
    for (step, &devices) in steps.iter().enumerate() {
        let of = |kind: &str, quantity: &dyn Fn(&Outcome) -> f64| rounds.sample(kind, quantity);
        let mib = |outcome: &Outcome| outcome.memory[step].bytes as f64 / f64::from(1 << 20);
        let slope = |outcome: &Outcome| outcome.kib_per_device(step);
        let above = difference(&rounds, slope);
        let slopes: [Cell; 3] = match step {
            0 => [Cell::Nothing, Cell::Nothing, Cell::Nothing],
            _ => [of(HIGHWATER, &slope).into(), of(BARE, &slope).into(), (&above).into()],
        };
        if step + 1 == steps.len() {
            report.check("memory of an idle device above a bare connection, KiB", above.median(), Bound::AtMost(8.0));
        }
        let cpu = |outcome: &Outcome| outcome.memory[step].cpu * 100.0;
        let [slope, bare_slope, above] = slopes;
        table.row([
            devices.into(),
            of(HIGHWATER, &mib).into(),
            of(BARE, &mib).into(),
            slope,
            bare_slope,
            above,
            of(HIGHWATER, &cpu).into(),
            of(BARE, &cpu).into(),
        ]);
    }
    report.table(table);
    Ok(())
}

fn latencies(title: &str, rounds: &Rounds<Outcome>, of: fn(&Outcome) -> super::plan::Quantiles) -> Table {
    let mut table = Table::new(title, &["server", "p50 µs", "p99", "p999", "server's core, %", "held back"]);
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
