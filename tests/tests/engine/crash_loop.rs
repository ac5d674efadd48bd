//! A process under load is killed at random moments, again and again (promises P1-P4).
//!
//! The child is this very test binary: it opens the store, sends without pause and writes every acknowledgement to its
//! standard output, which the parent keeps: a history outside the store. After each kill the parent opens the store
//! and looks for everything that was acknowledged. `HIGHWATER_CRASH_ROUNDS` asks for more than the 30 rounds of every
//! day.

use crate::fixture::{Seed, conversation, member, send, session};
use highwater_engine::command::{Caller, Command, Completion};
use highwater_engine::entry::{Body, Entry, HistoryRange, Start, SyncLimits, What};
use highwater_engine::options::Durability;
use highwater_engine::proto::error::Error;
use highwater_engine::proto::id::Seq;
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Engine, Options, Outcome, Receipt};
use highwater_tests::world::scratch;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

const CHILD: &str = "HIGHWATER_CRASH_CHILD";
/// Set when the child is to run in the durability mode `crash`, which a kill must not lose anything in, either.
const UNSYNCED: &str = "HIGHWATER_CRASH_UNSYNCED";
const ROUNDS: u64 = 30;
/// Rounds after which a new store is begun, so that a long run does not only test large ones.
const ROUNDS_PER_STORE: u64 = 40;
/// Acknowledgements before a kill; up to as many again, at random.
const ACKNOWLEDGED_MIN: u64 = 1_000;
const USERS: usize = 6;
const WRITERS: usize = 4;
/// Sends of a writer that are not answered yet.
const IN_FLIGHT: usize = 64;
const CONVERSATIONS: [&str; 3] = ["small", "large", "pinned"];

/// What was acknowledged, by user and number.
type History = BTreeMap<(usize, u64), Receipt>;

fn options() -> Options {
    Options {
        durability: match std::env::var_os(UNSYNCED) {
            Some(_) => Durability::Crash { sync_interval: Duration::from_millis(50) },
            None => Durability::Power,
        },
        create_named_users: true,
        segment_bytes_max: 256 << 10,
        // Persists and kills are to meet.
        persist_head_bytes: 64 << 10,
        fanout: highwater_engine::options::FanoutThresholds {
            write_members_max: 4,
            read_members_min: 3,
            dwell_ms_min: 0,
            costs: None,
        },
        ..Options::default()
    }
}

/// What a device sends under a number: the same each time, so that a repeat is one.
fn planned(user: usize, number: u64) -> (&'static str, Vec<u8>) {
    let place = (number as usize * 7 + user) % CONVERSATIONS.len();
    let mut body = format!("{user}/{number}/").into_bytes();
    body.resize(body.len() + (number as usize * 37) % 300, b'.');
    (CONVERSATIONS[place], body)
}

#[test]
fn acknowledged_sends_survive_kills() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let rounds = std::env::var("HIGHWATER_CRASH_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let mut seed = Seed::random("crash loop");
    let mut acknowledged = 0;
    let mut dir = scratch();
    let mut history = History::new();
    for round in 0..rounds {
        if round % ROUNDS_PER_STORE == 0 {
            dir = scratch();
            history.clear();
            begin(dir.path());
        }
        let target = ACKNOWLEDGED_MIN + seed.below(ACKNOWLEDGED_MIN);
        let new = run_and_kill(dir.path(), target, round % 3 == 2);
        assert!(new.len() as u64 >= ACKNOWLEDGED_MIN, "{} acknowledgements before the kill", new.len());
        acknowledged += new.len();
        let newest: Vec<(usize, u64)> = new.keys().copied().collect();
        history.extend(new);
        verify(dir.path(), &history, &newest, round);
    }
    println!("crash loop: {rounds} kills, {acknowledged} sends acknowledged before them");
}

fn begin(dir: &Path) {
    let engine = Engine::open(dir, options()).unwrap();
    let members: Vec<_> = (0..USERS).map(member).collect();
    for (name, count, fanout) in
        [("small", 3, Fanout::Auto), ("large", USERS, Fanout::Auto), ("pinned", USERS, Fanout::Write)]
    {
        engine.execute(conversation(Kind::Group, name, &members[..count])).unwrap();
        let caller = Caller::Service;
        let pin =
            Command::Settings { caller, conversation: name.into(), open: None, history: None, fanout: Some(fanout) };
        engine.execute(pin).unwrap();
    }
    // Whoever is not a member of the small one is sent for by the service.
    engine.close().unwrap();
}

/// Runs the child until it has so many sends acknowledged, kills it, and returns what it said.
fn run_and_kill(dir: &Path, target: u64, is_unsynced: bool) -> History {
    let mut process = Process::new(std::env::current_exe().unwrap());
    if is_unsynced {
        process.env(UNSYNCED, "");
    }
    let mut child = process
        .args(["--exact", "crash_loop::child_under_load", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut history = History::new();
    let mut killed = false;
    // After the kill the pipe still holds what was acknowledged before it; the last line may be half of one.
    for line in lines.map_while(Result::ok) {
        if let Some((key, receipt)) = parse(&line) {
            history.insert(key, receipt);
        }
        if !killed && history.len() as u64 >= target {
            child.kill().unwrap();
            killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself after {} acknowledgements: {status}", history.len());
    history
}

fn parse(line: &str) -> Option<((usize, u64), Receipt)> {
    let fields: Vec<&str> = line.strip_prefix("ack ")?.strip_suffix(" .")?.split(' ').collect();
    let [user, client_seq, conversation, seq, position, time_ms] = fields.as_slice() else { return None };
    let number = |text: &str| text.parse::<u64>().ok();
    let receipt = Receipt {
        conversation: (*conversation).into(),
        seq: Seq(number(seq)?),
        position: highwater_engine::proto::id::Position(number(position)?),
        time_ms: number(time_ms)?,
        client_seq: number(client_seq)?,
        repeated: false,
    };
    Some(((user.parse().ok()?, receipt.client_seq), receipt))
}

/// Not a test of its own: the load that [`acknowledged_sends_survive_kills`] runs in another process.
#[test]
fn child_under_load() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let engine = Engine::open(&dir, options()).unwrap();
    let changing = engine.clone();
    std::thread::spawn(move || change_members(&changing));
    let writers = (0..WRITERS).map(|user| {
        let engine = engine.clone();
        std::thread::spawn(move || write(&engine, user))
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().unwrap();
    }
}

/// Comings and goings switch the large conversation's mode both ways.
fn change_members(engine: &Engine) {
    let guests: Vec<_> = (WRITERS..USERS).map(member).collect();
    loop {
        let (caller, conversation) = (Caller::Service, "large".into());
        engine.execute(Command::Remove { caller, conversation, members: guests.clone() }).unwrap();
        let (caller, conversation) = (Caller::Service, "large".into());
        engine.execute(Command::Remove { caller, conversation, members: vec![member(2), member(3)] }).unwrap();
        let (caller, conversation) = (Caller::Service, "large".into());
        let members = (2..USERS).map(member).collect();
        engine.execute(Command::Add { caller, conversation, members }).unwrap();
    }
}

/// Sends without pause; every answer makes room for the next send. The sessions are the service's, which may send in
/// the name of somebody who is not a member at the moment.
fn write(engine: &Engine, user: usize) {
    let session = session(engine, &member(user), "d", true);
    let (give, room) = channel();
    for _ in 0..IN_FLIGHT {
        give.send(()).unwrap();
    }
    for client_seq in session.last_client_seq + 1.. {
        room.recv().unwrap();
        let give = give.clone();
        let (conversation, body) = planned(user, client_seq);
        let completion: Completion = Box::new(move |outcome| {
            report(user, outcome);
            // The writer may have ended.
            let _sent = give.send(());
        });
        engine.submit(send(session, client_seq, conversation, body), completion).unwrap();
    }
}

/// Tells the parent, in one write.
fn report(user: usize, outcome: Result<Outcome, Error>) {
    match outcome {
        Ok(Outcome::Receipt(Receipt { conversation, seq, position, time_ms, client_seq, .. })) => {
            let line = format!("ack {user} {client_seq} {conversation} {seq} {position} {time_ms} .\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
        other => panic!("a send of user {user} gave {other:?}"),
    }
}

/// Everything acknowledged is there, once, unchanged and in order, for everybody who may see it.
fn verify(dir: &Path, history: &History, newest: &[(usize, u64)], round: u64) {
    let engine = Engine::open(dir, options()).unwrap();
    let records = synced(&engine, 0);
    let by_position: BTreeMap<u64, &Entry> = records.iter().map(|entry| (entry.position.0, entry)).collect();
    for ((user, number), receipt) in history {
        let entry = by_position.get(&receipt.position.0);
        let entry = entry.unwrap_or_else(|| panic!("round {round}: send {number} of user {user} is lost: {receipt:?}"));
        let (conversation, body) = planned(*user, *number);
        assert_eq!(
            (entry.conversation.as_ref(), entry.seq, entry.time_ms),
            (conversation, receipt.seq, receipt.time_ms)
        );
        assert_eq!(message(entry), Some(&body[..]), "round {round}: send {number} of user {user}");
    }
    check_contiguous(&records);
    let mut numbers: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for body in records.iter().filter_map(message) {
        let text = std::str::from_utf8(body).unwrap();
        let (user, rest) = text.split_once('/').unwrap();
        numbers.entry(user.parse().unwrap()).or_default().push(rest.split('/').next().unwrap().parse().unwrap());
    }
    for (user, mut numbers) in numbers {
        let session = session(&engine, &member(user), "d", true);
        numbers.sort_unstable();
        assert!(
            numbers.iter().copied().eq(1..=session.last_client_seq),
            "round {round}: user {user} has each number once"
        );
        for (_, number) in newest.iter().filter(|(author, _)| *author == user).step_by(16) {
            let (conversation, body) = planned(user, *number);
            let again = engine.execute(send(session, *number, conversation, body)).unwrap();
            let Outcome::Receipt(again) = again else { panic!("a repeat gave {again:?}") };
            assert_eq!(again, Receipt { repeated: true, ..history[&(user, *number)].clone() });
        }
    }
    if round % 10 == 9 || round == 0 {
        check_everybody(&engine);
    }
    if round.is_multiple_of(2) {
        engine.close().unwrap();
    }
}

/// What sync gives is what history gives, whatever the fan-out and its switches.
fn check_everybody(engine: &Engine) {
    for user in 0..USERS {
        let mut positions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for entry in synced(engine, user) {
            positions.entry(entry.conversation.to_string()).or_default().push(entry.position.0);
        }
        for (conversation, positions) in positions {
            let mut read = Vec::new();
            let mut after = Seq(0);
            loop {
                let page = engine.history(&member(user), &conversation, HistoryRange::After(after), 0).unwrap();
                let Some(last) = page.last() else { break };
                after = last.seq;
                read.extend(page.iter().map(|entry| entry.position.0));
            }
            assert_eq!(positions, read, "user {user} in {conversation}");
        }
    }
}

fn synced(engine: &Engine, user: usize) -> Vec<Entry> {
    let user = member(user);
    let mut page = engine.sync(&user, Start::Beginning, SyncLimits::default()).unwrap();
    let mut records = std::mem::take(&mut page.records);
    while !page.caught_up {
        page = engine.sync_next(&user, page.next, SyncLimits::default()).unwrap();
        records.append(&mut page.records);
    }
    records
}

fn check_contiguous(records: &[Entry]) {
    for conversation in CONVERSATIONS {
        let seqs = records.iter().filter(|entry| entry.conversation.as_ref() == conversation && !entry.seq.is_zero());
        let seqs: Vec<u64> = seqs.map(|entry| entry.seq.0).collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "the seqs of {conversation} are contiguous");
    }
}

fn message(entry: &Entry) -> Option<&[u8]> {
    match &entry.what {
        What::Message { body: Body::Original(body), .. } => Some(body),
        _ => None,
    }
}
