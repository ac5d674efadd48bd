//! What it costs a device to catch up, and to list its conversations.
//!
//! Readers take turns, so that no sync finds just what the one before has touched. *Hot*: everything missed is in the
//! head, in memory. *Warm*: it has been persisted, so that lists come from the index and records from the log's files,
//! all of which the page cache holds. *Cold* (some rows): the store was reopened and its files dropped from the cache.

mod lists;
mod modes;
mod scenes;

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::{Bound, Cell, Report, Table};
use crate::stats::Latencies;
use crate::store::name;
use crate::sys;
use highwater_engine::Engine;
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::proto::record::Fanout;
use scenes::{Groups, Missed};
use std::time::{Duration, Instant};

const COLUMNS: [&str; 6] = ["missed", "tier", "syncs", "p50 µs", "p99 µs", "p50 ns/record"];
/// How often a store is opened for a row in which each opening is good for few syncs.
const OPENINGS_MAX: usize = 8;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("sync", Machine::here(&context.out));
    let mut table = Table::new("catching up, bodies of 200 bytes, direct conversations", &COLUMNS);
    let all = [(1, 1), (50, 1), (50, 5), (50, 50), (5_000, 1), (5_000, 5), (5_000, 50)];
    let some = [(1, 1), (50, 5), (5_000, 50)];
    let cases: &[(usize, usize)] = context.pick(&all, &some);
    let slice = context.budget / (4 * cases.len() + 12) as u32;
    for (records, conversations) in cases {
        let missed = scenes::direct(context, *records, *conversations)?;
        let what = format!("{records} records in {conversations} conversations");
        let (hot, warm) = tiers(&mut table, &[&what], &missed, slice)?;
        if (*records, *conversations) == (50, 5) {
            report.check(format!("sync of {what}, hot, p50 µs"), hot, Bound::AtMost(25.0));
            report.check(format!("sync of {what}, warm, p50 µs"), warm, Bound::AtMost(200.0));
            let readers = missed.readers.len();
            cold(&mut table, &[&what], missed, readers)?;
        }
    }
    report.table(table);
    let members = context.pick(2_000, 200);
    let title = format!("catching up, large groups followed ({members} members each, fan-out on read)");
    let mut table = Table::new(title, &COLUMNS);
    for followed in context.pick(&[1, 20, 200][..], &[1, 20][..]) {
        for (records, what) in [(0, "nothing new"), (50, "50 records")] {
            let with_news = (*followed).min(5);
            let groups = Groups { count: *followed, size: members, fanout: Fanout::Read, records, with_news };
            let missed = scenes::followed(context, groups)?;
            tiers(&mut table, &[&format!("{what}, {followed} groups followed")], &missed, slice)?;
        }
    }
    report.table(table);
    modes::run(context, &mut report, slice / 12)?;
    lists::run(context, &mut report, slice)?;
    Ok(report)
}

/// Adds the rows of a case, hot and warm; gives the medians in µs. `labels` stand before the tier.
fn tiers(table: &mut Table, labels: &[&str], missed: &Missed, slice: Duration) -> Result<(f64, f64), Failure> {
    let hot = measure(missed, slice)?;
    row(table, labels, "hot", missed.records, &hot);
    missed.bench.engine.persist()?;
    let warm = measure(missed, slice)?;
    row(table, labels, "warm", missed.records, &warm);
    Ok((hot.p50_us(), warm.p50_us()))
}

/// One sync each of so many readers after everything was dropped from the caches, again and again for others.
fn cold(table: &mut Table, labels: &[&str], missed: Missed, readers_per_opening: usize) -> Result<(), Failure> {
    let Missed { mut bench, readers, start, records } = missed;
    let mut latencies = Latencies::default();
    for readers in readers.chunks(readers_per_opening).take(OPENINGS_MAX) {
        bench = bench.reopen(scenes::options())?;
        sys::drop_cached(bench.path())?;
        for reader in readers {
            latencies.record(one(&bench.engine, *reader, start, records)?);
        }
    }
    row(table, labels, "cold", records, &latencies);
    Ok(())
}

fn measure(missed: &Missed, slice: Duration) -> Result<Latencies, Failure> {
    // Once for nothing: pages and caches come to rest.
    for reader in &missed.readers {
        one(&missed.bench.engine, *reader, missed.start, missed.records)?;
    }
    let mut latencies = Latencies::default();
    let until = Instant::now() + slice;
    while Instant::now() < until {
        for reader in &missed.readers {
            latencies.record(one(&missed.bench.engine, *reader, missed.start, missed.records)?);
        }
    }
    Ok(latencies)
}

/// A whole catch-up, page by page.
fn one(engine: &Engine, reader: usize, start: Start, expected: usize) -> Result<Duration, Failure> {
    let user = name(reader);
    let began = Instant::now();
    let mut delta = engine.sync(&user, start, SyncLimits::default())?;
    let mut records = delta.records.len();
    while !delta.caught_up {
        delta = engine.sync_next(&user, delta.next, SyncLimits::default())?;
        records += delta.records.len();
    }
    let took = began.elapsed();
    match records == expected {
        true => Ok(took),
        false => Err(format!("{user} got {records} records; {expected} were sent").into()),
    }
}

fn row(table: &mut Table, labels: &[&str], tier: &str, records: usize, latencies: &Latencies) {
    let per_record = latencies.p50_us() * 1e3 / records as f64;
    let measured = [
        latencies.count().into(),
        latencies.p50_us().into(),
        latencies.p99_us().into(),
        if records == 0 { Cell::Nothing } else { per_record.into() },
    ];
    table.row(labels.iter().copied().chain([tier]).map(Cell::from).chain(measured));
}
