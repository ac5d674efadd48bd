//! Durable sends a second and their latency, in process.
//!
//! One thread submits and keeps so many sends in flight; the engine's own threads do the rest. The raw log and the two
//! tables in RocksDB get the same bodies for the same members, through the same driver.

mod single;
mod stalls;

use crate::context::{Context, Failure, default_out};
use crate::load::{CRASH, Measured, Scene, Strategy, Target, bodies};
use crate::machine::{Machine, Memory};
use crate::pair::{Rounds, Variant, interleave};
use crate::report::{Bound, Report, Table};
use crate::rivals::{Expert, Shape, Tuning};
use crate::workload::Density;
use highwater_engine::options::Durability;
use std::cell::RefCell;
use std::time::{Duration, Instant};

const BODY_BYTES: usize = 200;
/// How titles of direct scenes begin.
const DIRECT: &str = "direct, ";

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let began = Instant::now();
    let mut report = Report::new("throughput", Machine::here(&context.out));
    memory(context, &mut report)?;
    single::run(context, &mut report)?;
    stalls::run(context, &mut report)?;
    let scenes = scenes(context);
    let end = began + context.budget;
    for (index, (title, scene)) in scenes.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        load(context, &mut report, title, scene, left / (scenes.len() - index) as u32)?;
    }
    report.note(
        "The raw log and the tables keep no counters, check nobody's rights and know no repeats; tables of RocksDB \
         additionally flush and compact between the rounds, which their sends a second do not show.",
    );
    Ok(report)
}

fn scenes(context: &Context) -> Vec<(String, Scene)> {
    let sizes: &[usize] = context.pick(&[20, 200, 1_000], &[200]);
    let groups = sizes.iter().map(|size| {
        let scene = Scene::groups(16, *size, (size * 2).max(256), context.seed);
        (format!("groups of {size}"), scene)
    });
    let direct = |users| (format!("{DIRECT}{users} users"), Scene::direct(users, context.seed));
    let mut all = vec![direct(1 << 10)];
    if !context.quick {
        all.push(direct(Density::Realistic.users()));
    }
    all.extend(groups);
    all
}

fn strategies(context: &Context) -> Vec<Strategy> {
    let expert = Tuning::Expert(Expert { memtable_bytes: 8 << 20, is_compressed: false });
    let mut all = vec![
        Strategy::Write(Durability::Power),
        Strategy::RawLog(Durability::Power),
        Strategy::Tables(Shape::Index, expert),
        Strategy::Tables(Shape::Index, Tuning::Ordinary),
    ];
    if !context.quick {
        all.extend([
            Strategy::Write(CRASH),
            Strategy::RawLog(CRASH),
            Strategy::Tables(Shape::Inline, expert),
            Strategy::Tables(Shape::Inline, Tuning::Ordinary),
        ]);
    }
    all
}

fn load(context: &Context, report: &mut Report, title: &str, scene: &Scene, budget: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let bodies = bodies(BODY_BYTES, context.seed);
    let strategies = strategies(context);
    let open =
        |strategy: &Strategy| Ok((strategy.name(), RefCell::new(Target::open(context, *strategy, scene, &bodies)?)));
    let targets = strategies.iter().map(open).collect::<Result<Vec<_>, Failure>>()?;
    let depths: &[usize] = context.pick(&[1, 64, 1_024], &[1, 1_024]);
    let rounds = context.pick(5, 3);
    let left = budget.saturating_sub(began.elapsed());
    // Settling takes rivals about as long again.
    let slice = left / (2 * depths.len() * rounds * targets.len()) as u32;
    let slice = slice.clamp(Duration::from_millis(100), Duration::from_secs(3));
    let mut table = Table::new(
        format!("{title}, {BODY_BYTES} bytes"),
        &[
            "strategy",
            "in flight",
            "sends/s",
            "p50 µs",
            "p99 µs",
            "p999 µs",
            "CPU µs/send",
            "allocations/send",
            "against the engine",
        ],
    );
    for (index, depth) in depths.iter().enumerate() {
        let until = began + budget.mul_f64((index + 1) as f64 / depths.len() as f64);
        // The first tenth is not counted: pages, caches and the allocator come to rest.
        let mut variants: Vec<Variant<'_, Measured>> = targets
            .iter()
            .map(|(name, target)| {
                Variant::new(name.clone(), move |_| {
                    let mut target = target.borrow_mut();
                    target.measure(*depth, u64::MAX, Instant::now() + slice / 10)?;
                    target.measure(*depth, u64::MAX, Instant::now() + slice)
                })
            })
            .collect();
        let measured = interleave(rounds, until, &mut variants)?;
        rows(&mut table, &measured, *depth);
        if let (1_024, Some(users)) = (*depth, title.strip_prefix(DIRECT)) {
            checks(report, &measured, &strategies, users);
        }
    }
    report.table(table);
    Ok(())
}

fn rows(table: &mut Table, measured: &Rounds<Measured>, depth: usize) {
    let engine = &measured.names()[0];
    for name in measured.names() {
        let of = |quantity: fn(&Measured) -> f64| measured.sample(name, quantity);
        table.row([
            name.as_str().into(),
            depth.into(),
            of(|m| m.driven.per_second()).into(),
            of(|m| m.driven.latencies.p50_us()).into(),
            of(|m| m.driven.latencies.p99_us()).into(),
            of(|m| m.driven.latencies.p999_us()).into(),
            of(Measured::cpu_us_per_send).into(),
            of(|m| m.allocations.count as f64 / m.driven.count as f64).into(),
            measured.ratio(name, engine, |m| m.driven.per_second()).into(),
        ]);
    }
}

fn checks(report: &mut Report, measured: &Rounds<Measured>, strategies: &[Strategy], users: &str) {
    let engine = Strategy::Write(Durability::Power).name();
    let against = |other: &str| measured.ratio(&engine, other, |m| m.driven.per_second()).median();
    let what = format!("durable direct sends/s among {users}, 200 bytes, 1024 in flight, against");
    let raw_log = Strategy::RawLog(Durability::Power).name();
    report.check(format!("{what} the raw log"), against(&raw_log), Bound::AtLeast(0.5));
    for strategy in strategies.iter().filter(|strategy| matches!(strategy, Strategy::Tables(Shape::Index, _))) {
        report.check(format!("{what} {}", strategy.name()), against(&strategy.name()), Bound::AtLeast(5.0));
    }
}

/// Memory of one engine under load, in a process that holds nothing else yet.
fn memory(context: &Context, report: &mut Report) -> Result<(), Failure> {
    let bodies = bodies(BODY_BYTES, context.seed);
    let before = Memory::here();
    let scene = Scene::direct(1 << 10, context.seed);
    let mut target = Target::open(context, Strategy::Write(Durability::Power), &scene, &bodies)?;
    let ready = Memory::here();
    Memory::forget_peak();
    let measured = target.measure(1_024, context.pick(1_000_000, 100_000), Instant::now() + context.budget / 20)?;
    let peak = Memory::here().peak;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut table = Table::new("memory of one engine, 1024 users", &["when", "MiB above the empty process"]);
    table.row(["ready".into(), mib(ready.resident.saturating_sub(before.resident)).into()]);
    let when = format!("peak over {} direct sends, 1024 in flight, and a persist", measured.driven.count);
    table.row([when.into(), mib(peak.saturating_sub(before.resident)).into()]);
    report.table(table);
    Ok(())
}

/// What the program starts as a process of its own: `highwater-bench child throughput SCENE SIZE IN_FLIGHT SECONDS`
/// sends in one scene (`direct` among SIZE users, or `groups` of SIZE) for so long, to look into it.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    let [scene, size, depth, seconds] = arguments else {
        return Err(format!("nothing is called {arguments:?}").into());
    };
    let context = Context { quick: false, out: default_out(), budget: Duration::ZERO, seed: 1 };
    let (size, depth): (usize, usize) = (size.parse()?, depth.parse()?);
    let sending = Duration::from_secs_f64(seconds.parse()?);
    let scene = match scene.as_str() {
        "direct" => Scene::direct(size, context.seed),
        "groups" => Scene::groups(16, size, (size * 2).max(256), context.seed),
        other => return Err(format!("no scene is called {other}").into()),
    };
    let bodies = bodies(BODY_BYTES, context.seed);
    let mut target = Target::open(&context, Strategy::Write(Durability::Power), &scene, &bodies)?;
    let measured = target.measure(depth, u64::MAX, Instant::now() + sending)?;
    let (sends, cpu) = (measured.driven.per_second(), measured.cpu_us_per_send());
    let bytes = measured.device_bytes_per_body_byte();
    println!(
        "{sends:.0} sends/s; {cpu:.2} µs of CPU each, {bytes:.2} device bytes per body byte, a settling persist included"
    );
    Ok(())
}
