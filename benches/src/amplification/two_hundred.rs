//! Groups of 200, bodies of 200 bytes: the engine beside both tables, as they come and in every tuning that an expert
//! would try. Compared is with the best of them, each quantity for itself.

use crate::context::{Context, Failure};
use crate::load::{Measured, Scene, Strategy, Target, bodies};
use crate::pair::{Rounds, Variant, interleave};
use crate::report::{Bound, Report, Table};
use crate::rivals::{Expert, Shape, Tuning};
use crate::workload::{Density, MESSAGES_PER_USER};
use highwater_engine::options::Durability;
use std::cell::RefCell;
use std::time::Instant;

const MEMBERS: usize = 200;
const BODY_BYTES: usize = 200;
const IN_FLIGHT: usize = 256;
const ENGINE: Strategy = Strategy::Write(Durability::Power);

pub(super) fn run(context: &Context, report: &mut Report, until: Instant) -> Result<(), Failure> {
    let began = Instant::now();
    let half = began + until.saturating_duration_since(began) / 2;
    density(context, report, Density::Dense, half)?;
    density(context, report, Density::Realistic, until)
}

fn experts(context: &Context) -> Vec<Tuning> {
    let expert = |mib: usize, is_compressed| Tuning::Expert(Expert { memtable_bytes: mib << 20, is_compressed });
    let all = [(4, false), (8, true), (16, false), (64, false), (64, true)];
    let some = if context.quick { &all[1..3] } else { &all[..] };
    some.iter().map(|(mib, is_compressed)| expert(*mib, *is_compressed)).collect()
}

fn strategies(context: &Context) -> Vec<Strategy> {
    let mut all = vec![ENGINE];
    for shape in [Shape::Index, Shape::Inline] {
        all.push(Strategy::Tables(shape, Tuning::Ordinary));
        all.extend(experts(context).into_iter().map(|tuning| Strategy::Tables(shape, tuning)));
    }
    all
}

fn scene(context: &Context, density: Density) -> (Scene, u64) {
    match density {
        // Everybody is in eight groups; lists grow by hundreds.
        Density::Dense => (Scene::groups(16, MEMBERS, 2 * MEMBERS, context.seed), context.pick(8_192, 1_024)),
        // About one group a user, and as many messages for each as an hour brings.
        Density::Realistic => {
            let users = context.pick(Density::Realistic.users(), 1 << 13);
            let groups = users / 256;
            let sends = users * MESSAGES_PER_USER / MEMBERS;
            (Scene::groups(groups, MEMBERS, users, context.seed), sends as u64)
        }
    }
}

fn density(context: &Context, report: &mut Report, density: Density, until: Instant) -> Result<(), Failure> {
    let bodies = bodies(BODY_BYTES, context.seed);
    let (scene, sends) = scene(context, density);
    let strategies = strategies(context);
    let open = |strategy: &Strategy| Target::open(context, *strategy, &scene, &bodies).map(RefCell::new);
    let targets = strategies.iter().map(open).collect::<Result<Vec<_>, Failure>>()?;
    let variants = strategies.iter().zip(&targets).map(|(strategy, target)| {
        let measure = move |_| target.borrow_mut().measure(IN_FLIGHT, sends, Instant::now() + context.budget);
        Variant::new(strategy.name(), measure)
    });
    let rounds = interleave(context.pick(5, 1), until, &mut variants.collect::<Vec<Variant<'_, Measured>>>())?;
    report.table(table(&rounds, density, sends));
    checks(report, &rounds, &strategies, density);
    Ok(())
}

fn table(rounds: &Rounds<Measured>, density: Density, sends: u64) -> Table {
    let title = format!(
        "groups of {MEMBERS}, {BODY_BYTES} bytes, {} density, {sends} sends a round, {} rounds",
        density.name(),
        rounds.count()
    );
    let columns = [
        "strategy",
        "CPU µs/entry",
        "against the engine",
        "device bytes/entry",
        "against the engine",
        "own account bytes/entry",
        "space bytes/entry",
        "sends/s",
    ];
    let mut table = Table::new(title, &columns);
    let engine = ENGINE.name();
    for name in rounds.names() {
        table.row([
            name.as_str().into(),
            rounds.sample(name, Measured::cpu_us_per_entry).into(),
            rounds.ratio(name, &engine, Measured::cpu_us_per_entry).into(),
            rounds.sample(name, Measured::device_bytes_per_entry).into(),
            rounds.ratio(name, &engine, Measured::device_bytes_per_entry).into(),
            rounds.sample(name, |m| m.own_bytes.total() as f64 / m.entries as f64).into(),
            rounds.sample(name, |m| m.space_bytes as f64 / m.entries as f64).into(),
            rounds.sample(name, |m| m.driven.per_second()).into(),
        ]);
    }
    table
}

fn checks(report: &mut Report, rounds: &Rounds<Measured>, strategies: &[Strategy], density: Density) {
    let engine = ENGINE.name();
    let least = |shape: Shape, with_ordinary: bool, quantity: fn(&Measured) -> f64| {
        let is_meant = |strategy: &&Strategy| {
            matches!(strategy, Strategy::Tables(its, tuning)
                if *its == shape && (with_ordinary || *tuning != Tuning::Ordinary))
        };
        let ratios = strategies.iter().filter(is_meant).map(|s| rounds.ratio(&s.name(), &engine, quantity).median());
        ratios.fold(f64::INFINITY, f64::min)
    };
    let ordinary = Strategy::Tables(Shape::Index, Tuning::Ordinary).name();
    let ordinary = rounds.ratio(&ordinary, &engine, Measured::cpu_us_per_entry).median();
    let index = Shape::Index.name();
    let density = density.name();
    let cpu = format!("CPU per delivered entry, 200 members, {density}: times less than {index}");
    report.check(format!("{cpu}, ordinary"), ordinary, Bound::AtLeast(10.0));
    let best = least(Shape::Index, false, Measured::cpu_us_per_entry);
    report.check(format!("{cpu}, best tuned"), best, Bound::AtLeast(4.0));
    for (shape, bound) in [(Shape::Index, 4.0), (Shape::Inline, 30.0)] {
        let best = least(shape, true, Measured::device_bytes_per_entry);
        let what =
            format!("device bytes per delivered entry, 200 members, {density}: times less than {}", shape.name());
        report.check(format!("{what}, best"), best, Bound::AtLeast(bound));
    }
}
