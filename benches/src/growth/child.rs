//! What the children of this program do: hold one store and measure it when told, fill one until they are killed, open
//! one and tell how long that took.

use super::membership;
use super::population::{Made, Population};
use crate::children::{answer, requests};
use crate::context::Failure;
use crate::machine::Memory;
use crate::sys;
use highwater_engine::{Engine, Options};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// How an opening went.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) memory_bytes: u64,
}

/// From this part on of what makes a persist begin, a head counts as full.
pub(super) const FULL_FROM: f64 = 0.97;
/// Messages between two looks at the head while it is half empty, and afterwards: few enough not to overshoot.
const FILL_STEPS: (u64, u64) = (4_096, 256);

/// Does what the arguments say.
pub(super) fn run(arguments: &[&str]) -> Result<(), Failure> {
    match *arguments {
        ["store", path, users, entries] => store(Path::new(path), users.parse()?, entries.parse()?),
        ["open", path] => open(Path::new(path)),
        ["fill", path, users, pairs, seconds] => {
            fill(Path::new(path), users.parse()?, pairs.parse()?, Duration::from_secs(seconds.parse()?))
        }
        ["membership", path, conversations] => membership::run(Path::new(path), conversations.parse()?),
        _ => Err(format!("nothing is called {arguments:?}").into()),
    }
}

/// Makes a store with so many users and entries, tells how that went, and measures what it is asked to.
fn store(path: &Path, users: usize, entries: u64) -> Result<(), Failure> {
    let mut made = Made { users, ..Made::default() };
    let began = Instant::now();
    let mut population = Population::make(path, users)?;
    made.seconds = began.elapsed().as_secs_f64();
    made.entries = population.entries_made();
    if let Some(more) = entries.checked_sub(made.entries).filter(|more| *more > 0) {
        let (began, cpu) = (Instant::now(), sys::process_cpu());
        let grown = population.grow(more)?;
        population.persist()?;
        made.growth_seconds = began.elapsed().as_secs_f64();
        made.growth_cpu_ns_per_entry = (sys::process_cpu() - cpu).as_secs_f64() * 1e9 / grown as f64;
        made.entries += grown;
    }
    population.persist()?;
    population.measure(&mut made);
    answer(&made)?;
    for request in requests() {
        match request.as_str() {
            "send" => answer(&population.send_cost()?)?,
            "sync" => answer(&population.sync_cost()?)?,
            _ => return Err(format!("nothing is called {request:?}").into()),
        }
    }
    population.close()
}

/// Opens a store and tells how long that took; closes it when nothing more is asked.
fn open(path: &Path) -> Result<(), Failure> {
    let (began, cpu) = (Instant::now(), sys::process_cpu());
    let engine = Engine::open(path, Options::default())?;
    answer(&Opened {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: (sys::process_cpu() - cpu).as_secs_f64(),
        memory_bytes: Memory::here().peak,
    })?;
    requests().for_each(drop);
    Ok(engine.close()?)
}

/// Sends direct messages among the first `pairs` until the head is full or the time is over, tells how full it is, and
/// waits to be killed.
fn fill(path: &Path, users: usize, pairs: usize, time_max: Duration) -> Result<(), Failure> {
    let mut population = Population::open(path, users)?;
    population.senders(pairs)?;
    population.persist()?;
    let until = Instant::now() + time_max;
    let before = population.usage();
    let fullness = loop {
        let usage = population.usage();
        if usage.persists != before.persists || usage.frozen_head_bytes > 0 {
            return Err("a persist began before the head counted as full".into());
        }
        let options = Options::default();
        let by_bytes = usage.head_bytes as f64 / options.persist_head_bytes as f64;
        let by_rows = usage.dirty_rows as f64 / options.persist_dirty_rows as f64;
        let records = usage.records_applied - before.records_applied;
        let fullness = by_bytes.max(by_rows).max(records as f64 / options.persist_records as f64);
        if fullness >= FULL_FROM || Instant::now() > until {
            break fullness;
        }
        population.send(if fullness < 0.5 { FILL_STEPS.0 } else { FILL_STEPS.1 }, until)?;
    };
    answer(&fullness)?;
    requests().for_each(drop);
    Err("nobody killed this process".into())
}
