//! Device bytes per body byte of direct messages, at both densities, persist included.

use crate::context::{Context, Failure};
use crate::load::{Measured, Scene, Strategy, Target, bodies};
use crate::pair::{Variant, interleave};
use crate::report::{Bound, Report, Table};
use crate::workload::{Density, MESSAGES_PER_USER};
use highwater_engine::options::Durability;
use std::cell::RefCell;
use std::time::Instant;

const BODY_BYTES: usize = 200;
const COLUMNS: [&str; 8] = [
    "density",
    "messages a round",
    "device bytes/body byte",
    "own account: log",
    "flushes",
    "compactions",
    "space/body byte",
    "CPU µs/send",
];
const IN_FLIGHT: [usize; 2] = [64, 1_024];

pub(super) fn run(context: &Context, report: &mut Report, until: Instant) -> Result<(), Failure> {
    let bodies = bodies(BODY_BYTES, context.seed);
    let count = |density: Density| {
        let users = if context.quick { density.users().min(1 << 13) } else { density.users() };
        let messages = context.pick(Density::Realistic.users(), 1 << 13) * MESSAGES_PER_USER;
        (users, messages as u64)
    };
    let mut targets = Vec::new();
    for density in [Density::Dense, Density::Realistic] {
        let (users, messages) = count(density);
        let scene = Scene::direct(users, context.seed);
        let target = Target::open(context, Strategy::Write(Durability::Power), &scene, &bodies)?;
        targets.push((density, messages, RefCell::new(target)));
    }
    let name = |density: Density, depth: usize| format!("{}, {depth} in flight", density.name());
    let mut variants: Vec<Variant<'_, Measured>> = Vec::new();
    for depth in IN_FLIGHT {
        for (density, messages, target) in &targets {
            variants.push(Variant::new(name(*density, depth), move |_| {
                target.borrow_mut().measure(depth, *messages, until.max(Instant::now()) + context.budget / 10)
            }));
        }
    }
    let rounds = interleave(context.pick(3, 1), until, &mut variants)?;
    let mut table = Table::new(
        format!(
            "direct messages of {BODY_BYTES} bytes, a persist after {MESSAGES_PER_USER} messages per user at realistic density"
        ),
        &COLUMNS,
    );
    for variant in rounds.names() {
        let own =
            |bytes: fn(&Measured) -> u64| rounds.sample(variant, |m| bytes(m) as f64 / m.body_bytes as f64).into();
        table.row([
            variant.as_str().into(),
            rounds.sample(variant, |m| m.driven.count as f64).into(),
            rounds.sample(variant, Measured::device_bytes_per_body_byte).into(),
            own(|m| m.own_bytes.log),
            own(|m| m.own_bytes.flushed),
            own(|m| m.own_bytes.compacted),
            rounds.sample(variant, |m| m.space_bytes as f64 / m.body_bytes as f64).into(),
            rounds.sample(variant, Measured::cpu_us_per_send).into(),
        ]);
    }
    report.table(table);
    for (density, bound) in [(Density::Dense, 1.5), (Density::Realistic, 2.2)] {
        for depth in IN_FLIGHT {
            let variant = name(density, depth);
            let measured = rounds.sample(&variant, Measured::device_bytes_per_body_byte).median();
            let what = format!("device bytes per body byte, direct, 200 bytes, persist included: {variant}");
            report.check(what, measured, Bound::AtMost(bound));
        }
    }
    Ok(())
}
