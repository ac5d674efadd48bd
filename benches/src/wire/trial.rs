//! One measurement by hand, in turns on both servers, without a report: for whoever makes the server faster.

use super::Fallible;
use super::plan::{Idle, Job, Outcome, Pushes, Sends, Time};
use super::servers::{Kind, Programs};
use crate::context::{default_out, scratch_below};

/// What to measure.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The measurement
    #[arg(value_enum)]
    what: What,
    /// Connections or devices
    #[arg(long, short = 'n', default_value_t = 100)]
    devices: usize,
    /// Unanswered sends of each connection, or messages on their way in a group
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// Groups among which the devices are divided
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Sends per second in all, by the clock
    #[arg(long)]
    rate: Option<f64>,
    /// Length of a body
    #[arg(long, default_value_t = 200)]
    body: usize,
    /// How long it is measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Only this server
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Let the kernel choose the cores
    #[arg(long)]
    unpinned: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    Sends,
    Pushes,
    Idle,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Only {
    Highwater,
    Bare,
}

pub(super) fn run(arguments: &Arguments) -> Fallible<()> {
    let programs = Programs::find(!arguments.unpinned)?;
    let kinds: &[Kind] = match arguments.only {
        Some(Only::Highwater) => &[Kind::Highwater],
        Some(Only::Bare) => &[Kind::Bare],
        None => &[Kind::Bare, Kind::Highwater],
    };
    let job = job(arguments);
    for _ in 0..arguments.rounds {
        for kind in kinds {
            let server = programs.start(*kind, scratch_below(&default_out())?)?;
            tell(*kind, &programs.load(&server, job.clone())?);
        }
    }
    Ok(())
}

fn job(arguments: &Arguments) -> Job {
    let time = Time { warmup_ms: 1_000, measure_ms: (arguments.seconds * 1_000.0) as u64 };
    let (devices, rate_per_s, body_bytes) = (arguments.devices, arguments.rate, arguments.body);
    match arguments.what {
        What::Sends => {
            Job::Sends(Sends { connections: devices, in_flight: arguments.in_flight, body_bytes, rate_per_s, time })
        }
        What::Pushes => {
            let (groups, window) = (arguments.groups, arguments.in_flight);
            Job::Pushes(Pushes { devices, groups, window, body_bytes, rate_per_s, time })
        }
        What::Idle => Job::Idle(Idle { steps: vec![100.min(devices / 2), devices], settle_ms: 3_000 }),
    }
}

fn tell(kind: Kind, outcome: &Outcome) {
    let name = kind.name();
    if let Some(last) = outcome.memory.last() {
        let (kib, cpu) = (outcome.kib_per_device(outcome.memory.len() - 1), last.cpu * 100.0);
        println!("{name:>10}: {kib:.2} KiB a device, {cpu:.1} % of a core with {} devices", last.devices);
        return;
    }
    let dropped = outcome.dropped_per_s();
    let (server, load) = (outcome.server_percent(), outcome.load_percent());
    let busy = format!("server {server:.0} %, generator {load:.0} % busy, {dropped:.0} datagrams/s dropped");
    let ack = outcome.ack;
    let times = |what: super::plan::Quantiles| format!("{:.0} / {:.0} / {:.0} µs", what.p50, what.p99, what.p999);
    if outcome.deliveries == 0 {
        let (rate, cpu) = (outcome.sends_per_s(), outcome.cpu_us_per_send());
        println!("{name:>10}: {rate:.0} sends/s, {cpu:.2} µs CPU each, ack {}; {busy}", times(ack));
        return;
    }
    let (rate, cpu) = (outcome.deliveries_per_s(), outcome.cpu_us_per_delivery());
    let a_frame = outcome.records_per_delta();
    println!(
        "{name:>10}: {rate:.0} deliveries/s, {cpu:.2} µs CPU each, {a_frame:.1} a frame, latency {}, ack {}; {busy}",
        times(outcome.delivery),
        times(ack)
    );
}
