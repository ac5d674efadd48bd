//! Every size of conversation, every body, every strategy.

use crate::context::{Context, Failure};
use crate::load::{Measured, Scene, Strategy, Target, bodies};
use crate::pair::{Rounds, Variant, interleave};
use crate::plot::{Axis, Plot};
use crate::report::{Report, Table};
use crate::rivals::{Expert, Shape, Tuning};
use highwater_engine::options::Durability;
use std::cell::RefCell;
use std::time::Instant;

const MEMBERS: [usize; 7] = [2, 10, 50, 200, 1_000, 5_000, 50_000];
const BODIES: [usize; 3] = [50, 200, 1_024];
const IN_FLIGHT: usize = 256;

/// CPU time of a send, in µs, for a number of members: the costs that the threshold of fan-out follows from.
pub(super) struct Costs {
    pub(super) write: Vec<(usize, f64)>,
    pub(super) read: Vec<(usize, f64)>,
}

/// A strategy with what its sends cost: points of members and CPU time, and of members and bytes.
type Line = (String, Vec<(f64, f64)>, Vec<(f64, f64)>);

fn strategies(context: &Context) -> Vec<Strategy> {
    let expert = Tuning::Expert(Expert { memtable_bytes: 16 << 20, is_compressed: true });
    let mut all = vec![Strategy::Write(Durability::Power), Strategy::Read(Durability::Power)];
    for shape in [Shape::Index, Shape::Inline] {
        all.push(Strategy::Tables(shape, expert));
        if !context.quick {
            all.push(Strategy::Tables(shape, Tuning::Ordinary));
        }
    }
    all
}

pub(super) fn run(context: &Context, report: &mut Report, until: Instant) -> Result<Costs, Failure> {
    let members: &[usize] = context.pick(&MEMBERS, &[2, 50, 1_000, 5_000]);
    let sizes: &[usize] = context.pick(&BODIES, &[200]);
    let columns = [
        "members, body, strategy",
        "device bytes/body byte",
        "device bytes/entry",
        "own account bytes/entry",
        "space bytes/entry",
        "CPU µs/send",
        "CPU µs/entry",
    ];
    let mut table = Table::new("writing, by members and body", &columns);
    let mut costs = Costs { write: Vec::new(), read: Vec::new() };
    let mut cpu = Plot::new("cpu-per-send", "CPU per send, 200 bytes", members_axis(), Axis::logarithmic("µs"));
    let mut bytes =
        Plot::new("bytes-per-send", "device bytes per send, 200 bytes", members_axis(), Axis::logarithmic("bytes"));
    let mut lines: Vec<Line> = Vec::new();
    let mut left = members.len() * sizes.len();
    for size in members {
        for body in sizes {
            let share = until.saturating_duration_since(Instant::now()) / left as u32;
            left -= 1;
            let rounds = cell(context, *size, *body, Instant::now() + share)?;
            rows(&mut table, &rounds, *size, *body);
            if *body != 200 {
                continue;
            }
            for name in rounds.names() {
                let per_send = |quantity: fn(&Measured) -> f64| rounds.sample(name, quantity).median();
                let cpu = (*size as f64, per_send(Measured::cpu_us_per_send));
                let bytes = (*size as f64, per_send(|m| m.used.written_bytes as f64 / m.driven.count as f64));
                match lines.iter_mut().find(|line| line.0 == *name) {
                    Some(line) => {
                        line.1.push(cpu);
                        line.2.push(bytes);
                    }
                    None => lines.push((name.clone(), vec![cpu], vec![bytes])),
                }
            }
            let of = |strategy: Strategy| rounds.sample(&strategy.name(), Measured::cpu_us_per_send).median();
            costs.write.push((*size, of(Strategy::Write(Durability::Power))));
            costs.read.push((*size, of(Strategy::Read(Durability::Power))));
        }
    }
    report.table(table);
    for (name, cpu_points, bytes_points) in lines {
        cpu.line(name.clone(), cpu_points);
        bytes.line(name, bytes_points);
    }
    report.plot(cpu);
    report.plot(bytes);
    Ok(costs)
}

pub(super) fn members_axis() -> Axis {
    Axis::logarithmic("members of the conversation")
}

fn cell(context: &Context, members: usize, body: usize, until: Instant) -> Result<Rounds<Measured>, Failure> {
    let bodies = bodies(body, context.seed);
    let groups = if members <= 1_000 { 4 } else { 1 };
    let users = if members <= 1_000 { (2 * members).max(64) } else { members };
    let scene = Scene::groups(groups, members, users, context.seed);
    let strategies = strategies(context);
    let open = |strategy: &Strategy| Target::open(context, *strategy, &scene, &bodies).map(RefCell::new);
    let targets = strategies.iter().map(open).collect::<Result<Vec<_>, Failure>>()?;
    let variants = strategies.iter().zip(&targets).map(|(strategy, target)| {
        let sends = sends(context, *strategy, members, body);
        Variant::new(strategy.name(), move |_| {
            target.borrow_mut().measure(IN_FLIGHT, sends, Instant::now() + context.budget)
        })
    });
    interleave(context.pick(3, 1), until, &mut variants.collect::<Vec<Variant<'_, Measured>>>())
}

/// So many sends that each strategy has something to do and none takes all the time.
fn sends(context: &Context, strategy: Strategy, members: usize, body: usize) -> u64 {
    let entries = context.pick(300_000, 40_000);
    let bytes: usize = context.pick(200 << 20, 30 << 20);
    let sends = (entries / members).clamp(8, context.pick(30_000, 4_000));
    let sends = match strategy {
        Strategy::Tables(Shape::Inline, _) => sends.min((bytes / (members * body)).max(2)),
        // The record of the members costs nothing here; more sends tell more.
        Strategy::Read(_) => sends.max(2_000),
        _ => sends,
    };
    sends as u64
}

fn rows(table: &mut Table, rounds: &Rounds<Measured>, members: usize, body: usize) {
    for name in rounds.names() {
        table.row([
            format!("{members}, {body}, {name}").into(),
            rounds.sample(name, Measured::device_bytes_per_body_byte).into(),
            rounds.sample(name, Measured::device_bytes_per_entry).into(),
            rounds.sample(name, |m| m.own_bytes.total() as f64 / m.entries as f64).into(),
            rounds.sample(name, |m| m.space_bytes as f64 / m.entries as f64).into(),
            rounds.sample(name, Measured::cpu_us_per_send).into(),
            rounds.sample(name, Measured::cpu_us_per_entry).into(),
        ]);
    }
}
