//! Stores made sound and made worse: what verification and inspection say about them.

use super::{Part, verify};
use crate::command::{Command, Destination, OpenSession, Outcome, Send};
use crate::inspect::{inspect, inspect_conversation, inspect_user};
use crate::lock::StoreLock;
use crate::log::disk::RealDisk;
use crate::log::{self, LogOptions};
use crate::state::{Redaction, State};
use crate::store::script::{ALICE, BOB, CHANNEL, GROUP, INCARNATION, apply, open, persist, varied};
use crate::{Engine, Options};
use highwater_proto::error::Code;
use highwater_proto::frame::GroupBuilder;
use highwater_proto::id::{DeviceId, Position, Seq, UserId};
use highwater_proto::record::{Mode, Record, Role};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A log of these records, in segments of 4 KiB, closed.
fn write_log(path: &Path, records: &[Record]) {
    let disk = Arc::new(RealDisk::new(path.join("log")));
    let options = LogOptions { segment_bytes_max: 4 << 10, tail_bytes_max: 0 };
    let mut opened = log::open(disk, options, Position::ZERO).expect("an empty log");
    for group in records.chunks(20) {
        let mut builder = GroupBuilder::new(group[0].position);
        group.iter().for_each(|record| builder.push(record));
        opened.space.reserve(builder.bytes() as u64).expect("space");
        opened.space.handed_over(&builder);
        opened.writer.append(&builder).expect("appending");
        opened.writer.sync().expect("syncing");
    }
    opened.writer.close().expect("closing");
}

/// An index made of the first records of a history, changed by `change` before the second of two persists.
fn write_index(path: &Path, records: &[Record], change: impl FnOnce(&mut State)) {
    let (store, mut state) = open(&path.join("index"));
    let (older, newer) = records.split_at(records.len() / 2);
    apply(&mut state, older);
    persist(&store, &mut state, &[]);
    apply(&mut state, newer);
    change(&mut state);
    persist(&store, &mut state, &[]);
}

fn store(records: &[Record], applied: usize, change: impl FnOnce(&mut State)) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    write_log(directory.path(), records);
    write_index(directory.path(), &records[..applied], change);
    directory
}

fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

#[test]
fn a_sound_store_is_sound_wherever_the_index_stands() {
    let records = varied(700);
    for applied in [0, 1, 13, 400, records.len() - 1, records.len()] {
        let directory = store(&records, applied, |_| {});
        let report = verify(directory.path()).expect("verifying");
        assert!(report.is_sound() && report.is_compared, "{report:?}");
        assert_eq!((report.applied, report.last), (Position(applied as u64), Position(records.len() as u64)));
        assert_eq!(report.records, records.len() as u64);
        assert!(report.segments > 1 && report.frames >= report.records / 20, "{report:?}");
    }
}

#[test]
fn an_index_that_says_otherwise_is_found() {
    /// A change that no record made, and what is said about it.
    type Case = (&'static str, fn(&mut State), &'static [&'static str]);
    let cases: &[Case] = &[
        (
            "an inbox entry is lost",
            |state| {
                state.head.rewrite_inbox(BOB, |inbox| {
                    inbox.remove(inbox.len() / 2);
                })
            },
            &["the inbox of user 2 (\"bob\") differs"],
        ),
        (
            "the last inbox entry is lost",
            |state| state.head.rewrite_inbox(ALICE, |inbox| inbox.truncate(5)),
            &["the inbox of user 1 (\"alice\") differs"],
        ),
        (
            "an inbox nobody fanned out to",
            |state| state.head.push_inbox(UserId(9), state.applied),
            &["the inbox of user 9 (\"\") differs from the log at entry 1"],
        ),
        (
            "an outbox entry counts",
            |state| {
                state.head.rewrite_outbox(GROUP, |_, entries| {
                    entries.iter_mut().find(|entry| !entry.countable).expect("an edit").countable = true;
                });
            },
            &["the outbox of conversation 1 (\"group\") differs"],
        ),
        (
            "a hole in an outbox",
            |state| state.head.rewrite_outbox(CHANNEL, |first, _| first.0 += 1),
            &["the outbox of conversation 2 (\"channel\") differs"],
        ),
        (
            "a head that went on",
            |state| {
                let conversation = state.conversations[0].as_mut().expect("the group");
                conversation.head = Seq(conversation.head.0 + 1);
                conversation.mode = Mode::Read;
            },
            &["only the log says", "only the index says", "conversation 1 \"group\": Group"],
        ),
        (
            "a role nobody gave",
            |state| {
                let conversation = state.conversations[0].as_mut().expect("the group");
                conversation.members.get_mut(&BOB).expect("a member").role = Some(Role::Owner);
            },
            &["only the index says, at position", "conversation 1 \"group\": member 2"],
        ),
        (
            "a follows row is dropped",
            |state| {
                state.users[0].follows.clear();
                state.dirty.follows(ALICE, CHANNEL);
            },
            &["user 1 \"alice\""],
        ),
        (
            "a number is given twice",
            |state| {
                state.devices[0].last_client_seq -= 1;
                state.dirty.device(DeviceId(1), &mut state.devices[0]);
            },
            &["device 1"],
        ),
        (
            "a message was never recalled",
            |state| {
                let target = Position(20);
                state.redactions.insert(target, Redaction::Recalled);
                state.dirty.redaction(target, None);
            },
            &["only the index says", "redaction 20 Recalled"],
        ),
    ];
    let records = varied(700);
    for (name, change, expected) in cases {
        let directory = store(&records, records.len() - 2, change);
        let report = verify(directory.path()).expect("verifying");
        let text: String = report.findings.iter().map(|finding| format!("{finding}\n")).collect();
        assert!(report.is_compared && !report.is_sound(), "{name}: {report:?}");
        assert!(report.findings.iter().all(|finding| finding.part == Part::Agreement), "{name}: {text}");
        assert!(expected.iter().all(|part| text.contains(part)), "{name}: {text}");
    }
}

#[test]
fn many_differences_are_counted_rather_than_listed() {
    let records = varied(700);
    let directory = store(&records, records.len(), |state| {
        for target in 1..=1_000 {
            state.redactions.insert(Position(target), Redaction::Recalled);
            state.dirty.redaction(Position(target), None);
        }
    });
    let report = verify(directory.path()).expect("verifying");
    assert!((40..80).contains(&report.findings.len()), "{}", report.findings.len());
    assert!(report.findings.iter().any(|finding| finding.what.ends_with("more rows differ")), "{report:?}");
}

#[test]
fn damage_is_named_with_its_part_and_file() {
    let records = varied(700);
    let directory = store(&records, 400, |_| {});
    let flip = |file: &Path| {
        let mut bytes = fs::read(file).expect("a file");
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        fs::write(file, bytes).expect("writing");
    };
    let index = directory.path().join("index");
    let found = |part: Part, text: &str| {
        let report = verify(directory.path()).expect("verifying");
        let hit = report.findings.iter().any(|finding| finding.part == part && finding.what.contains(text));
        assert!(hit, "{text:?} is not said by {report:?}");
        report
    };

    let table = files(&index, "sst").into_iter().max_by_key(|file| fs::metadata(file).map_or(0, |file| file.len()));
    let table = table.expect("a table file");
    flip(&table);
    let report = found(Part::Index, table.file_name().and_then(|name| name.to_str()).expect("a name"));
    assert_eq!(report.records, records.len() as u64, "the log is verified all the same");
    flip(&table);

    let current = fs::read(index.join("CURRENT")).expect("a file");
    fs::remove_file(index.join("CURRENT")).expect("removing");
    found(Part::Index, "CURRENT");
    fs::write(index.join("CURRENT"), current).expect("writing");

    let segments = files(&directory.path().join("log"), "seg");
    let segment = segments.first().expect("a segment");
    flip(segment);
    let report = found(Part::Log, segment.file_name().and_then(|name| name.to_str()).expect("a name"));
    assert!(!report.is_compared, "{report:?}");
    flip(segment);
    assert!(verify(directory.path()).expect("verifying").is_sound());

    fs::rename(directory.path().join("log"), directory.path().join("elsewhere")).expect("renaming");
    found(Part::Log, "log is missing");
}

#[test]
fn a_log_shorter_than_the_index_is_damage() {
    let records = varied(100);
    let directory = tempfile::tempdir().expect("a directory");
    write_log(directory.path(), &records[..50]);
    write_index(directory.path(), &records, |_| {});
    let report = verify(directory.path()).expect("verifying");
    assert!(!report.is_sound() && !report.is_compared, "{report:?}");
    assert!(report.findings.iter().all(|finding| finding.part == Part::Log), "{report:?}");
}

#[test]
fn where_there_is_no_store_none_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nothing");
    assert_eq!(verify(&path).map_err(|error| error.code), Err(Code::NotFound));
    assert_eq!(inspect(&path).map_err(|error| error.code), Err(Code::NotFound));
    assert!(!path.exists());
}

#[test]
fn a_store_in_use_is_not_verified_and_says_so_when_inspected() {
    let records = varied(100);
    let directory = store(&records, 50, |_| {});
    let _lock = StoreLock::take(directory.path()).expect("the lock");
    assert_eq!(verify(directory.path()).map_err(|error| error.code), Err(Code::Unusable));
    let summary = inspect(directory.path()).expect("inspecting");
    assert!(summary.in_use.is_some_and(|text| text.contains(&std::process::id().to_string())));
    assert!(inspect_user(directory.path(), "alice").is_ok());
}

/// Opens the engine, sends messages from alice to bob, and persists after half of them.
fn send_messages(path: &Path, messages: u64) -> Engine {
    let options = Options { create_named_users: true, ..Options::default() };
    let engine = Engine::open(path, options).expect("opening");
    engine.execute(Command::CreateUser { user: "alice".into() }).expect("a user");
    let (user, device) = ("alice".into(), "phone".into());
    let open = OpenSession { user, device, by_service: false, on_replaced: Box::new(|| {}) };
    let Ok(Outcome::Session(session)) = engine.execute(Command::OpenSession(open)) else { panic!("no session") };
    for index in 1..=messages {
        let message = Send {
            session,
            client_seq: session.last_client_seq + index,
            destination: Destination::User("bob".into()),
            body: "hello".into(),
            quote: None,
            mentions: Vec::new(),
            sent_at_ms: None,
        };
        engine.execute(Command::Send(message)).expect("a receipt");
        if index == messages / 2 {
            engine.persist().expect("persisting");
        }
    }
    engine
}

#[test]
fn what_the_engine_leaves_is_sound_closed_or_not() {
    let directory = tempfile::tempdir().expect("a directory");
    // Dropped without being closed: as after a crash, the index is behind the log.
    drop(send_messages(directory.path(), 100));
    let report = verify(directory.path()).expect("verifying");
    assert!(report.is_sound() && report.is_compared, "{report:?}");
    assert!(Position::ZERO < report.applied && report.applied < report.last, "{report:?}");
    let view = inspect_user(directory.path(), "bob").expect("inspecting");
    assert_eq!(view.chunks.iter().map(|chunk| chunk.positions.len()).sum::<usize>() + view.replayed.len(), 101);
    assert!(!inspect(directory.path()).expect("inspecting").is_closed);

    send_messages(directory.path(), 20).close().expect("closing");
    let report = verify(directory.path()).expect("verifying");
    assert!(report.is_sound() && report.is_compared, "{report:?}");
    assert_eq!(report.applied, report.last);
    let summary = inspect(directory.path()).expect("inspecting");
    assert!(summary.is_closed, "{summary:?}");
    assert_eq!((summary.last, summary.epoch_ends.len()), (report.last, 1));
}

#[test]
fn a_store_at_a_glance() {
    let records = varied(700);
    let directory = store(&records, 600, |_| {});
    let summary = inspect(directory.path()).expect("inspecting");
    assert_eq!(summary.in_use, None);
    assert_eq!(summary.incarnation, INCARNATION);
    assert_eq!((summary.applied, summary.last), (Position(600), Position(records.len() as u64)));
    assert!(summary.is_closed && !summary.is_torn);
    assert_eq!((summary.users, summary.devices, summary.conversations), (3, 3, 2));
    assert_eq!(summary.generations, [1]);
    assert_eq!(summary.member_rows, 4);
    let rows = |name| summary.families.iter().find(|family| family.name == name).map(|family| family.rows);
    assert_eq!(rows("names"), Some(9));
    assert!(rows("inbox.1") >= Some(4) && rows("conversations") >= Some(2), "{summary:?}");
    assert!(summary.segments.len() > 1, "{summary:?}");
    assert_eq!(summary.segments.last().map(|segment| segment.last), Some(summary.last));
    assert!(summary.segments.iter().all(|segment| 0 < segment.bytes && segment.bytes <= segment.file_bytes));
}

#[test]
fn one_users_inbox_and_one_conversations_outbox() {
    let records = varied(1_500);
    let mut whole = State::new(INCARNATION);
    apply(&mut whole, &records);
    let directory = store(&records, 1_400, |_| {});

    let view = inspect_user(directory.path(), "bob").expect("inspecting");
    let mut inbox = view.chunks.iter().flat_map(|chunk| &chunk.positions).copied().collect::<Vec<_>>();
    assert!(view.chunks.len() > 2 && inbox.last().is_some_and(|last| *last <= view.applied), "{view:?}");
    inbox.extend(&view.replayed);
    assert!(whole.head.inbox(BOB, Position::ZERO, Position(u64::MAX)).eq(inbox));
    assert_eq!((view.id, view.applied, view.current, view.conversations), (BOB, Position(1_400), 2, 2));
    assert_eq!(view.follows, ["channel".into()]);
    assert_eq!(view.devices.len(), 1);

    let view = inspect_conversation(directory.path(), "group").expect("inspecting");
    let mut outbox = view.chunks.iter().flat_map(|chunk| &chunk.positions).copied().collect::<Vec<_>>();
    outbox.extend(view.replayed.iter().map(|(_, position, _)| *position));
    let expected: Vec<_> = whole.head.outbox(GROUP).expect("an outbox").entries().collect();
    assert_eq!(outbox, expected.iter().map(|entry| entry.position).collect::<Vec<_>>());
    let messages: usize = view.chunks.iter().map(|chunk| chunk.messages).sum();
    let replayed = view.replayed.iter().filter(|(_, _, countable)| *countable).count();
    assert_eq!((messages + replayed) as u64, view.messages.0);
    assert_eq!((view.members, view.former_members), (3, 0));
    assert_eq!(view.head.0, expected.len() as u64);

    for error in [
        inspect_user(directory.path(), "nobody").err(),
        inspect_conversation(directory.path(), "nothing").err(),
        inspect_conversation(directory.path(), "named and not created").err(),
    ] {
        assert_eq!(error.map(|error| error.code), Some(Code::NotFound));
    }
}
