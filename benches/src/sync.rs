//! What it costs a device to catch up, and to list its conversations.
//!
//! Readers take turns, so that no sync finds just what the one before has touched. *Hot*: everything missed is in the
//! head, in memory. *Warm*: it has been persisted, so that lists come from the index and records from the log's files,
//! all of which the page cache holds. *Cold* (one row): the store was reopened and its files dropped from the cache.

mod lists;
mod scenes;

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::{Bound, Cell, Report, Table};
use crate::stats::Latencies;
use crate::store::name;
use crate::sys;
use highwater_engine::Engine;
use highwater_engine::entry::{Start, SyncLimits};
use scenes::Missed;
use std::time::Instant;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("sync", Machine::here(&context.out));
    let columns = ["missed", "tier", "syncs", "p50 µs", "p99 µs", "p50 ns/record"];
    let mut table = Table::new("catching up, bodies of 200 bytes, direct conversations", &columns);
    let all = [(1, 1), (50, 1), (50, 5), (50, 50), (5_000, 1), (5_000, 5), (5_000, 50)];
    let some = [(1, 1), (50, 5), (5_000, 50)];
    let cases: &[(usize, usize)] = context.pick(&all, &some);
    let slice = context.budget / (4 * cases.len() + 12) as u32;
    for (records, conversations) in cases {
        let missed = scenes::direct(context, *records, *conversations)?;
        let what = format!("{records} records in {conversations} conversations");
        let (hot, warm) = tiers(&mut table, &what, &missed, slice)?;
        if (*records, *conversations) == (50, 5) {
            report.check(format!("sync of {what}, hot, p50 µs"), hot, Bound::AtMost(25.0));
            report.check(format!("sync of {what}, warm, p50 µs"), warm, Bound::AtMost(200.0));
            cold(&mut table, &what, missed)?;
        }
    }
    report.table(table);
    let members = context.pick(2_000, 200);
    let title = format!("catching up, large groups followed ({members} members each, fan-out on read)");
    let mut table = Table::new(title, &columns);
    for followed in context.pick(&[1, 20, 200][..], &[1, 20][..]) {
        for (records, what) in [(0, "nothing new"), (50, "50 records")] {
            let missed = scenes::followed(context, *followed, members, records)?;
            tiers(&mut table, &format!("{what}, {followed} groups followed"), &missed, slice)?;
        }
    }
    report.table(table);
    lists::run(context, &mut report, slice)?;
    Ok(report)
}

/// Adds the rows of a case, hot and warm; gives the medians in µs.
fn tiers(table: &mut Table, what: &str, missed: &Missed, slice: std::time::Duration) -> Result<(f64, f64), Failure> {
    let hot = measure(missed, slice)?;
    row(table, what, "hot", missed.records, &hot);
    missed.bench.engine.persist()?;
    let warm = measure(missed, slice)?;
    row(table, what, "warm", missed.records, &warm);
    Ok((hot.p50_us(), warm.p50_us()))
}

/// One sync of each reader after everything was dropped from the caches.
fn cold(table: &mut Table, what: &str, missed: Missed) -> Result<(), Failure> {
    let Missed { bench, readers, start, records } = missed;
    let bench = bench.reopen(scenes::options())?;
    sys::drop_cached(bench.path())?;
    let mut latencies = Latencies::default();
    for reader in readers {
        latencies.record(one(&bench.engine, reader, start, records)?);
    }
    row(table, what, "cold", records, &latencies);
    Ok(())
}

fn measure(missed: &Missed, slice: std::time::Duration) -> Result<Latencies, Failure> {
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
fn one(engine: &Engine, reader: usize, start: Start, expected: usize) -> Result<std::time::Duration, Failure> {
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

fn row(table: &mut Table, what: &str, tier: &str, records: usize, latencies: &Latencies) {
    let per_record = latencies.p50_us() * 1e3 / records as f64;
    table.row([
        what.into(),
        tier.into(),
        latencies.count().into(),
        latencies.p50_us().into(),
        latencies.p99_us().into(),
        if records == 0 { Cell::Nothing } else { per_record.into() },
    ]);
}
