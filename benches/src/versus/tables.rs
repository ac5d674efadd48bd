//! What the report of the comparison says: the measurements, the ratios, and whether the targets are reached.

use super::measure::{Durability, Layout, Measured};
use super::{Variant, Who};
use crate::pair::Rounds;
use crate::plot::{Axis, Plot};
use crate::report::{Bound, Cell, Report, Table};
use crate::stats::Sample;

/// All rounds for conversations of so many members.
pub(crate) struct Block {
    pub(crate) members: usize,
    pub(crate) rounds: Rounds<Measured>,
}

/// What Highwater is compared in.
#[derive(Clone, Copy)]
struct Quantity {
    name: &'static str,
    of: fn(&Measured) -> f64,
    /// Only with this durability, if it makes no difference.
    only: Option<Durability>,
}

const SENDS: Quantity = Quantity { name: "sends/s", of: |measured| measured.sends_per_s, only: None };
const RECORDS: Quantity =
    Quantity { name: "records/s", of: |measured| measured.records_per_s, only: Some(Durability::Crash) };

/// By how much each rival is to be beaten where it is not by 2 or 10: Redis, PostgreSQL, NATS.
const RIVALS: [(Who, f64); 3] = [(Who::Redis, 1.0), (Who::Postgres, 3.0), (Who::Nats, 3.0)];

pub(crate) fn fill(report: &mut Report, blocks: &[Block], variants: &[Variant]) {
    for block in blocks {
        report.table(measurements(block, variants));
    }
    for quantity in [SENDS, RECORDS] {
        report.table(ratios(quantity, blocks, variants));
        report.plot(plot(quantity, blocks, variants));
    }
    checks(report, blocks, variants);
}

fn measurements(block: &Block, variants: &[Variant]) -> Table {
    let columns = [
        "variant",
        "sends/s",
        "server µs/send",
        "client µs/send",
        "bytes written/send",
        "stored/message",
        "stored/delivery",
        "records/s caught up",
        "server µs/record",
        "client µs/record",
    ];
    let members = block.members;
    let mut table = Table::new(format!("Conversations of {members} members"), &columns);
    for variant in variants {
        let name = variant.name();
        let cell = |quantity: fn(&Measured) -> f64| -> Cell {
            let sample = block.rounds.sample(&name, quantity);
            if sample.count() == 0 { Cell::Nothing } else { sample.into() }
        };
        let stored = block.rounds.sample(&name, |measured| measured.stored_per_send);
        table.row([
            name.as_str().into(),
            cell(|measured| measured.sends_per_s),
            cell(|measured| measured.server_us_per_send),
            cell(|measured| measured.client_us_per_send),
            cell(|measured| measured.written_per_send),
            stored.median().into(),
            (stored.median() / members as f64).into(),
            cell(|measured| measured.records_per_s),
            cell(|measured| measured.server_us_per_record),
            cell(|measured| measured.client_us_per_record),
        ]);
    }
    table
}

/// Highwater against a variant of equal durability.
fn ratio(quantity: Quantity, block: &Block, against: Variant) -> Sample {
    let own = Variant { who: Who::Highwater, layout: None, durability: against.durability };
    block.rounds.ratio(&own.name(), &against.name(), quantity.of)
}

fn rivals(quantity: Quantity, variants: &[Variant]) -> impl Iterator<Item = Variant> {
    variants.iter().copied().filter(move |variant| {
        variant.who != Who::Highwater && quantity.only.is_none_or(|only| variant.durability == only)
    })
}

fn ratios(quantity: Quantity, blocks: &[Block], variants: &[Variant]) -> Table {
    let heads: Vec<String> = blocks.iter().map(|block| format!("N = {}", block.members)).collect();
    let columns: Vec<&str> = std::iter::once("Highwater against").chain(heads.iter().map(String::as_str)).collect();
    let mut table = Table::new(format!("Ratio of {}", quantity.name), &columns);
    for variant in rivals(quantity, variants) {
        let cells = blocks.iter().map(|block| {
            let sample = ratio(quantity, block, variant);
            if sample.count() == 0 { Cell::Nothing } else { sample.into() }
        });
        table.row(std::iter::once(variant.name().into()).chain(cells));
    }
    table
}

fn plot(quantity: Quantity, blocks: &[Block], variants: &[Variant]) -> Plot {
    let name = if quantity.only.is_some() { "records" } else { "sends" };
    let (x, y) = (Axis::logarithmic("members of a conversation"), Axis::logarithmic(quantity.name));
    let mut plot = Plot::new(name, format!("{}, durability: crash", quantity.name), x, y);
    for variant in variants.iter().filter(|variant| variant.durability == Durability::Crash) {
        let points = blocks
            .iter()
            .map(|block| (block.members as f64, block.rounds.sample(&variant.name(), quantity.of).median()));
        plot.line(variant.name(), points.filter(|(_, value)| value.is_finite()));
    }
    plot
}

fn checks(report: &mut Report, blocks: &[Block], variants: &[Variant]) {
    let block = |members: usize| blocks.iter().find(|block| block.members == members);
    for durability in [Durability::Power, Durability::Crash] {
        for (who, factor) in RIVALS {
            let of = |layout| Variant { who, layout: Some(layout), durability };
            let known = |variant: &Variant| variants.contains(variant);
            let what = format!("{}, {}", who.name(), durability.name());
            if let Some(block) = block(200) {
                let copying = Some(of(Layout::Copying)).filter(known);
                let measured = copying.map_or(f64::NAN, |copying| ratio(SENDS, block, copying).median());
                let name = format!("sends/s into 200 members against {what}, copying");
                report.check(name, measured, Bound::AtLeast(10.0));
                let name = format!("sends/s into 200 members against {what}, the better");
                report.check(name, better(SENDS, block, variants, of), Bound::AtLeast(2.0));
                if RECORDS.only == Some(durability) {
                    let name = format!("records/s caught up, of 200 members, against {}, the better", who.name());
                    report.check(name, better(RECORDS, block, variants, of), Bound::AtLeast(factor));
                }
            }
            if let Some(block) = block(2) {
                let name = format!("direct sends/s against {what}, the better");
                report.check(name, better(SENDS, block, variants, of), Bound::AtLeast(factor));
            }
        }
    }
}

/// The ratio against whichever layout of a rival does better; NaN if neither was measured.
fn better(quantity: Quantity, block: &Block, variants: &[Variant], of: impl Fn(Layout) -> Variant) -> f64 {
    let both = [Layout::Copying, Layout::Log].map(of);
    let known = both.into_iter().filter(|variant| variants.contains(variant));
    known.map(|variant| ratio(quantity, block, variant).median()).fold(f64::NAN, f64::min)
}
