//! What it costs a device to read what it has missed: from memory, from the index, and with all caches dropped.

use crate::context::{Context, Failure};
use crate::load::{Scene, Strategy, Target, bodies};
use crate::machine::Used;
use crate::report::{Cell, Report, Table};
use crate::rivals::{Expert, Shape, Tuning};
use crate::store::{drive, name};
use crate::{sys, workload};
use highwater_engine::Engine;
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::options::Durability;
use std::time::Instant;

const GROUPS: usize = 16;
const MEMBERS: usize = 200;
const USERS: usize = 800;
const BODY_BYTES: usize = 200;

/// Costs of reading, in µs of CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Of looking at a followed conversation that has nothing new.
    pub(super) pull_check_us: f64,
    /// Of a record that came by the inbox.
    pub(super) record_write_us: f64,
    /// Of a record that was pulled from an outbox.
    pub(super) record_read_us: f64,
}

/// What some users together got, and what that took.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    records: u64,
    blocks: Option<u64>,
    device_bytes: u64,
    cpu_us: f64,
    wall_us: f64,
}

/// Where readers begin.
#[derive(Clone, Copy)]
enum Mark {
    Engine(Start),
    Tables(u64),
}

pub(super) fn run(context: &Context, report: &mut Report, until: Instant) -> Result<Reading, Failure> {
    let columns = ["strategy, where", "records", "µs/record", "CPU µs/record", "device bytes/record", "blocks/record"];
    let title = format!(
        "reading what was missed: {GROUPS} groups of {MEMBERS} among {USERS} users, {BODY_BYTES} bytes, 20 users"
    );
    let mut table = Table::new(title, &columns);
    let expert = Tuning::Expert(Expert { memtable_bytes: 16 << 20, is_compressed: true });
    let mut reading = Reading::default();
    let strategies = [
        Strategy::Write(Durability::Power),
        Strategy::Read(Durability::Power),
        Strategy::Tables(Shape::Index, expert),
        Strategy::Tables(Shape::Inline, expert),
    ];
    for strategy in strategies {
        let hot = strategy_rows(context, strategy, &mut table, until)?;
        match strategy {
            Strategy::Write(_) => reading.record_write_us = hot,
            Strategy::Read(_) => reading.record_read_us = hot,
            _ => {}
        }
    }
    report.table(table);
    reading.pull_check_us = super::pull::check_us(context, report)?;
    Ok(reading)
}

/// Adds the rows of a strategy; gives the CPU time of a record from memory.
fn strategy_rows(context: &Context, strategy: Strategy, table: &mut Table, until: Instant) -> Result<f64, Failure> {
    let scene = Scene::groups(GROUPS, MEMBERS, USERS, context.seed);
    let mut target = Target::open(context, strategy, &scene, &bodies(BODY_BYTES, context.seed))?;
    let limit = || until.max(Instant::now()) + context.budget / 4;
    // What was there before, so that the missed part is not all there is.
    target.measure(256, context.pick(20_000, 2_000), limit())?;
    let mark = mark(&target)?;
    let missed = context.pick(4_000, 1_000);
    drive(256, missed, limit(), |_, done| target.send(done))?;
    let mut row = |place: &str, read: Read| {
        let per_record = |value: f64| value / read.records.max(1) as f64;
        table.row([
            format!("{}, {place}", strategy.name()).into(),
            read.records.into(),
            per_record(read.wall_us).into(),
            per_record(read.cpu_us).into(),
            per_record(read.device_bytes as f64).into(),
            read.blocks.map_or(Cell::Nothing, |blocks| per_record(blocks as f64).into()),
        ]);
        per_record(read.cpu_us)
    };
    // The first time finds its way; the second one is measured.
    read_all(&target, mark)?;
    let hot = row("hot (in memory)", read_all(&target, mark)?);
    target.settle()?;
    read_all(&target, mark)?;
    row("warm (in the index)", read_all(&target, mark)?);
    let target = target.reopen()?;
    sys::drop_cached(target.path())?;
    row("cold (reopened, caches dropped)", read_all(&target, mark)?);
    Ok(hot)
}

fn mark(target: &Target) -> Result<Mark, Failure> {
    if let Some(tables) = target.tables() {
        return Ok(Mark::Tables(tables.last()));
    }
    let bench = target.bench().ok_or("a raw log is not read")?;
    Ok(Mark::Engine(now(&bench.engine, &name(0))?))
}

/// A checkpoint of what is visible now; it holds for every user.
pub(crate) fn now(engine: &Engine, user: &str) -> Result<Start, Failure> {
    let mut delta = engine.sync(user, Start::Snapshot, SyncLimits::default())?;
    while delta.checkpoint.is_none() {
        delta = engine.sync_next(user, delta.next, SyncLimits::default())?;
    }
    Ok(Start::Checkpoint(delta.checkpoint.ok_or("a snapshot ends with a checkpoint")?))
}

/// Reads everything after the mark for 20 users.
fn read_all(target: &Target, mark: Mark) -> Result<Read, Failure> {
    let users = workload::members(7, 20, USERS);
    let before = Used::so_far();
    let began = Instant::now();
    let mut read = Read::default();
    for user in users {
        match (mark, target.bench(), target.tables()) {
            (Mark::Engine(start), Some(bench), _) => {
                let blocks = bench.engine.usage().block_cache_misses;
                read.records += catch_up(&bench.engine, &name(user), start)?;
                *read.blocks.get_or_insert(0) += bench.engine.usage().block_cache_misses - blocks;
            }
            (Mark::Tables(after), _, Some(tables)) => {
                let caught_up = tables.catch_up(user as u32, after, usize::MAX)?;
                read.records += caught_up.records;
                *read.blocks.get_or_insert(0) += caught_up.blocks;
            }
            _ => return Err("a mark of another store".into()),
        }
    }
    let used = Used::since(before);
    read.wall_us = began.elapsed().as_secs_f64() * 1e6;
    read.cpu_us = used.cpu.as_secs_f64() * 1e6;
    read.device_bytes = used.read_bytes;
    Ok(read)
}

/// Reads page by page until nothing is left; gives how many records came.
pub(crate) fn catch_up(engine: &Engine, user: &str, start: Start) -> Result<u64, Failure> {
    let mut delta = engine.sync(user, start, SyncLimits::default())?;
    let mut records = delta.records.len() as u64;
    while !delta.caught_up {
        delta = engine.sync_next(user, delta.next, SyncLimits::default())?;
        records += delta.records.len() as u64;
    }
    Ok(records)
}
