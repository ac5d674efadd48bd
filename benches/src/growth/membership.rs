//! What it costs a user to be in many conversations: each sync looks at those that are fanned out on read.

use super::population::settle;
use crate::children::answer;
use crate::context::Failure;
use crate::stats::Latencies;
use crate::store::{drive, name, send, submit};
use crate::sys;
use highwater_engine::command::{Caller, Create, Destination, OpenSession};
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::proto::checkpoint::Checkpoint;
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Command, Engine, Options, Outcome, SendSession};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a member of so many conversations pays, in µs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct MembershipCost {
    pub(super) conversations: usize,
    pub(super) is_read_mode: bool,
    /// CPU of the engine's threads for a send to one of them.
    pub(super) send_cpu_us: f64,
    /// Sync of fifty new messages, in at most as many conversations.
    pub(super) hot_us: f64,
    pub(super) warm_us: f64,
    /// Sync when nothing is new.
    pub(super) nothing_new_us: f64,
    /// The first page of fifty of the list of conversations.
    pub(super) list_us: f64,
}

const IN_FLIGHT: usize = 1_024;
const SENDS: usize = 5_000;
const MISSED: usize = 50;
const REPETITIONS: usize = 101;
const PAGE: usize = 50;

/// Measures a member of so many conversations, fanned out on write and on read.
pub(super) fn run(path: &Path, conversations: usize) -> Result<(), Failure> {
    let engine = Engine::open(path, Options::default())?;
    each(&engine, 3, |user| Command::CreateUser { user: name(user) })?;
    for (reader, fanout) in [(1, Fanout::Write), (2, Fanout::Read)] {
        answer(&measure(&engine, reader, fanout, conversations)?)?;
    }
    Ok(engine.close()?)
}

fn measure(engine: &Engine, reader: usize, fanout: Fanout, conversations: usize) -> Result<MembershipCost, Failure> {
    let conversation = |number: usize| -> Arc<str> { format!("{reader}-{number}").into() };
    each(engine, conversations, |number| {
        Command::Create(Create {
            caller: Caller::Service,
            kind: Kind::Group,
            conversation: Some(conversation(number)),
            owner: None,
            members: vec![name(0), name(reader)],
            open: false,
            history: false,
        })
    })?;
    each(engine, conversations, |number| Command::Settings {
        caller: Caller::Service,
        conversation: conversation(number),
        open: None,
        history: None,
        fanout: Some(fanout),
    })?;
    let mut sender = session(engine)?;
    let mut send_to = |number: usize, of: usize| {
        sender.last_client_seq += 1;
        let to = Destination::Conversation(conversation(number % of));
        send(sender, sender.last_client_seq, to, vec![b'x'; 200])
    };
    let (process, driver) = (sys::process_cpu(), sys::thread_cpu());
    drive(IN_FLIGHT, SENDS as u64, far_away(), |number, done| {
        submit(engine, send_to(number as usize, conversations), done)
    })?;
    let cpu = (sys::process_cpu() - process).saturating_sub(sys::thread_cpu() - driver);
    engine.persist()?;
    settle();

    let user = format!("u{reader}");
    let first = engine.sync(&user, Start::Beginning, SyncLimits::default())?;
    let checkpoint = first.checkpoint.ok_or("a delta has a checkpoint")?;
    let checkpoint = Checkpoint { position: engine.visible(), ..checkpoint };
    let sync = |expected: usize| {
        median_us(|| {
            let delta = engine.sync(&user, Start::Checkpoint(checkpoint), SyncLimits::default())?;
            let got = delta.records.len();
            if got == expected { Ok(()) } else { Err(format!("{got} records came, not {expected}").into()) }
        })
    };
    let nothing_new_us = sync(0)?;
    drive(IN_FLIGHT, MISSED as u64, far_away(), |number, done| {
        submit(engine, send_to(number as usize, conversations.min(MISSED)), done)
    })?;
    let hot_us = sync(MISSED)?;
    engine.persist()?;
    settle();
    let warm_us = sync(MISSED)?;
    let list_us = median_us(|| {
        let page = engine.conversations(&user, None, PAGE)?;
        let expected = PAGE.min(conversations);
        if page.conversations.len() == expected { Ok(()) } else { Err("the list is not complete".into()) }
    })?;
    Ok(MembershipCost {
        conversations,
        is_read_mode: fanout == Fanout::Read,
        send_cpu_us: cpu.as_secs_f64() * 1e6 / SENDS as f64,
        hot_us,
        warm_us,
        nothing_new_us,
        list_us,
    })
}

fn session(engine: &Engine) -> Result<SendSession, Failure> {
    let open = OpenSession { user: name(0), device: "bench".into(), by_service: false, on_replaced: Box::new(|| {}) };
    match engine.execute(Command::OpenSession(open))? {
        Outcome::Session(session) => Ok(session),
        other => Err(format!("no session was opened: {other:?}").into()),
    }
}

fn each(engine: &Engine, count: usize, command: impl Fn(usize) -> Command) -> Result<(), Failure> {
    drive(IN_FLIGHT, count as u64, far_away(), |number, done| submit(engine, command(number as usize), done))?;
    Ok(())
}

fn median_us(mut act: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut latencies = Latencies::default();
    for _ in 0..REPETITIONS {
        let began = Instant::now();
        act()?;
        latencies.record(began.elapsed());
    }
    Ok(latencies.p50_us())
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}
