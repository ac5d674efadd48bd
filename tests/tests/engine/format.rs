//! A store that was written when format version 1 was fixed must open for ever, and say the same.
//!
//! It stands in `fixtures/format-1`: a store with every kind of record, partly persisted, stopped uncleanly once, and
//! its canonical dump. `HIGHWATER_WRITE_FIXTURE=DIR` writes such a store anew; that is for a new format version, beside
//! this one, and never to make this test pass.

use crate::fixture::{receipt, send, session};
use highwater_engine::command::{Caller, Create, Destination, Send};
use highwater_engine::entry::{Body, Entry, Start, SyncLimits, What};
use highwater_engine::proto::id::Seq;
use highwater_engine::proto::record::{Fanout, Kind, Role};
use highwater_engine::{Command, Engine, Options, verify};
use highwater_tests::world::scratch;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DUMP: &str = "dump.txt";

fn options() -> Options {
    Options {
        create_named_users: true,
        segment_bytes_max: 64 << 10,
        clock: Arc::new(|| 1_700_000_000_000),
        ..Options::default()
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1")
}

#[test]
fn a_store_of_format_version_1_opens_and_says_the_same() {
    if let Some(directory) = std::env::var_os("HIGHWATER_WRITE_FIXTURE") {
        write(Path::new(&directory));
    }
    let directory = scratch();
    copy(&fixture().join("store"), directory.path());
    let report = verify::verify(directory.path()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);

    let engine = Engine::open(directory.path(), options()).unwrap();
    assert_eq!(engine.dump().unwrap(), fs::read_to_string(fixture().join(DUMP)).unwrap());
    let delta = engine.sync("grace", Start::Beginning, SyncLimits::default()).unwrap();
    let texts: Vec<String> = delta.records.iter().filter_map(text).collect();
    assert_eq!(texts, ["mended", "(recalled)", "good morning", "many read this", "after the crash"]);
    let ada = session(&engine, "ada", "phone", false);
    let last = ada.last_client_seq;
    assert_eq!(receipt(&engine, send(ada, last + 1, "team", "still writable")).seq, Seq(13));
}

fn text(entry: &Entry) -> Option<String> {
    let What::Message { body, .. } = &entry.what else { return None };
    Some(match body {
        Body::Original(bytes) | Body::Edited(bytes, _) => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::Recalled => "(recalled)".to_owned(),
    })
}

/// Writes a store with every kind of record, and its dump.
fn write(directory: &Path) {
    let store = scratch();
    let engine = Engine::open(store.path(), options()).unwrap();
    engine.execute(Command::CreateUser { user: "ada".into() }).unwrap();
    let ada = session(&engine, "ada", "phone", false);
    let mut number = 0;
    create(&engine, Kind::Group, "team", &["ada", "grace", "hedy"]);
    create(&engine, Kind::Channel, "news", &["ada"]);
    let mut morning = Seq::ZERO;
    for body in ["mendde", "a mistake", "good morning"] {
        number += 1;
        morning = receipt(&engine, send(ada, number, "team", body)).seq;
    }
    number += 1;
    let (target, conversation) = (Seq(morning.0 - 2), Arc::from("team"));
    let edit = Command::Edit { session: ada, client_seq: number, conversation, target, body: "mended".into() };
    receipt(&engine, edit);
    number += 1;
    let (target, conversation) = (Seq(morning.0 - 1), Arc::from("team"));
    receipt(&engine, Command::Recall { session: ada, client_seq: number, conversation, target });
    number += 1;
    let note = Send {
        session: ada,
        client_seq: number,
        destination: Destination::User("ada".into()),
        body: "a note to myself".into(),
        quote: None,
        mentions: Vec::new(),
        sent_at_ms: Some(1_600_000_000_000),
    };
    receipt(&engine, Command::Send(note.clone()));
    engine.persist().unwrap();
    change(&engine);
    number += 1;
    let answer = Send {
        client_seq: number,
        destination: Destination::Conversation("team".into()),
        body: "many read this".into(),
        quote: Some(morning),
        mentions: vec!["grace".into()],
        sent_at_ms: None,
        ..note
    };
    receipt(&engine, Command::Send(answer));
    // An unclean stop begins a second epoch.
    drop(engine);
    let engine = Engine::open(store.path(), options()).unwrap();
    let ada = session(&engine, "ada", "phone", false);
    receipt(&engine, send(ada, number + 1, "team", "after the crash"));
    session(&engine, "grace", "old tablet", false);
    engine.execute(Command::Revoke { user: "grace".into(), device: "old tablet".into() }).unwrap();
    let dump = engine.dump().unwrap();
    engine.close().unwrap();
    copy(store.path(), &directory.join("store"));
    fs::write(directory.join(DUMP), dump).unwrap();
}

fn create(engine: &Engine, kind: Kind, name: &str, members: &[&str]) {
    let create = Create {
        caller: Caller::Service,
        kind,
        conversation: Some(name.into()),
        owner: Some(members[0].into()),
        members: members.iter().map(|member| Arc::from(*member)).collect(),
        open: kind == Kind::Channel,
        history: true,
    };
    engine.execute(Command::Create(create)).unwrap();
}

/// Everything that changes a conversation besides messages.
fn change(engine: &Engine) {
    let team: Arc<str> = "team".into();
    let caller = Caller::User("ada".into());
    let settings = |fanout| Command::Settings {
        caller: Caller::Service,
        conversation: team.clone(),
        open: None,
        history: None,
        fanout: Some(fanout),
    };
    for command in [
        Command::Add { caller: caller.clone(), conversation: team.clone(), members: vec!["joan".into()] },
        Command::Remove { caller: caller.clone(), conversation: team.clone(), members: vec!["hedy".into()] },
        Command::Join { user: "grace".into(), conversation: "news".into() },
        Command::Leave { user: "grace".into(), conversation: "news".into() },
        Command::Role { caller, conversation: team.clone(), user: "grace".into(), role: Role::Admin },
        settings(Fanout::Read),
        Command::Mute { user: "grace".into(), conversation: team.clone(), muted: true },
        Command::Read { user: "grace".into(), conversation: team.clone(), through: Seq(3) },
    ] {
        engine.execute(command).unwrap();
    }
}

/// Copies a directory, but for the files that only say who had it open, and how.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&source, &target);
        } else if name != "LOCK" && !name.starts_with("LOG") && !name.starts_with("OPTIONS") {
            fs::copy(&source, &target).unwrap();
        }
    }
}
