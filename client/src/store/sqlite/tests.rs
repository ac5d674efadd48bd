//! The stores over restarts, other programs, and files that are something else.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::command::{LocalId, Message, Numbered, Quote};
use crate::store::{Checkpoint, CheckpointStore, OutgoingStore, QueueChange, Queued};
use std::sync::Arc;

const HERE: Incarnation = Incarnation([1; 16]);
const ELSEWHERE: Incarnation = Incarnation([2; 16]);

fn state(root: &tempfile::TempDir) -> StateDir {
    StateDir::new(root.path(), "grace", "phone").unwrap()
}

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position, bytes: vec![position as u8; 3].into() }
}

fn queued(local: u64, number: Option<u64>, body: &str) -> Queued {
    let command = Numbered::Send(Message::to_user("ada", body.to_owned()).mention(["ada"]).sent_at_ms(7));
    Queued { local: LocalId(local), number, command: command.into() }
}

#[test]
fn a_checkpoint_survives_and_belongs_to_its_incarnation() {
    let root = tempfile::tempdir().unwrap();
    let mut store = state(&root).checkpoints(HERE).unwrap();
    assert_eq!(store.load(HERE).unwrap(), None);
    store.store(HERE, &checkpoint(5)).unwrap();
    store.store(HERE, &checkpoint(u64::from(u8::MAX))).unwrap();
    drop(store);
    assert_eq!(state(&root).checkpoints(HERE).unwrap().load(HERE).unwrap(), Some(checkpoint(255)));
    assert_eq!(state(&root).checkpoints(ELSEWHERE).unwrap().load(ELSEWHERE).unwrap(), None);
}

#[test]
fn what_the_application_writes_and_the_checkpoint_are_stored_together_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let count = |store: &mut SqliteCheckpoints| -> i64 {
        store.connection().query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap()
    };
    let mut store = state(&root).checkpoints(HERE).unwrap();
    store.connection().execute_batch("CREATE TABLE seen (position INTEGER)").unwrap();
    let see = |tx: &rusqlite::Transaction<'_>| tx.execute("INSERT INTO seen VALUES (1)", []).map_err(|_| other());
    store.store_with(HERE, Some(&checkpoint(1)), see).unwrap();
    let failed = store.store_with(HERE, Some(&checkpoint(2)), |tx| see(tx).and_then(|_| Err::<(), _>(other())));
    assert_eq!(failed, Err(other()));
    assert_eq!((store.load(HERE).unwrap(), count(&mut store)), (Some(checkpoint(1)), 1));

    // A crash between what the application writes and the end of the transaction: the process is gone with it open.
    let path = store.path().to_owned();
    store
        .connection()
        .execute_batch("BEGIN; INSERT INTO seen VALUES (2); UPDATE highwater_checkpoint SET position = 9")
        .unwrap();
    drop(store);
    let mut store = SqliteCheckpoints::open(path).unwrap();
    assert_eq!((store.load(HERE).unwrap(), count(&mut store)), (Some(checkpoint(1)), 1));
}

fn other() -> Error {
    Error::new(Code::Io, "the application failed")
}

#[test]
fn the_queue_survives_with_numbers_quotes_and_unused_ids() {
    let root = tempfile::tempdir().unwrap();
    let mut store = state(&root).outgoing("server").unwrap();
    assert_eq!(store.load().unwrap(), (Vec::new(), LocalId(1)));
    let mut second = queued(2, None, "b");
    let Numbered::Send(message) = Arc::make_mut(&mut second.command) else { unreachable!() };
    message.quote = Quote::Local(LocalId(1));
    let edit = Numbered::Edit { conversation: "room".to_owned(), target: 3, body: "new".into() };
    let third = Queued { local: LocalId(3), number: None, command: edit.into() };
    let recall = Numbered::Recall { conversation: "room".to_owned(), target: 3 };
    let fourth = Queued { local: LocalId(4), number: None, command: recall.into() };
    let all = [queued(1, None, "a"), second.clone(), third.clone(), fourth];
    store.apply(&all.clone().map(QueueChange::Add)).unwrap();
    drop(store);

    let mut store = state(&root).outgoing("server").unwrap();
    assert_eq!(store.load().unwrap(), (all.to_vec(), LocalId(5)));
    store
        .apply(&[
            QueueChange::Remove(LocalId(1)),
            QueueChange::Quote { local: LocalId(2), seq: 11 },
            QueueChange::Number { local: LocalId(2), number: Some(8) },
            QueueChange::Number { local: LocalId(3), number: Some(9) },
            QueueChange::Number { local: LocalId(3), number: None },
            QueueChange::Remove(LocalId(4)),
        ])
        .unwrap();
    drop(store);

    Arc::make_mut(&mut second.command).resolve_quote(11);
    second.number = Some(8);
    let mut store = state(&root).outgoing("server").unwrap();
    assert_eq!(store.load().unwrap(), (vec![second, third], LocalId(5)), "4 is never used again");
}

#[test]
fn a_change_that_cannot_be_made_takes_the_others_with_it() {
    let root = tempfile::tempdir().unwrap();
    let mut store = state(&root).outgoing("server").unwrap();
    store.apply(&[QueueChange::Add(queued(1, None, "a"))]).unwrap();
    let twice = [
        QueueChange::Remove(LocalId(1)),
        QueueChange::Add(queued(2, None, "b")),
        QueueChange::Add(queued(2, None, "c")),
    ];
    assert_eq!(store.apply(&twice).unwrap_err().code, Code::Io);
    assert_eq!(store.load().unwrap(), (vec![queued(1, None, "a")], LocalId(2)));
}

#[test]
fn a_server_gets_what_was_meant_for_it_by_name_or_by_incarnation() {
    let root = tempfile::tempdir().unwrap();
    let mut store = state(&root).outgoing("old address").unwrap();
    store.bind(HERE).unwrap();
    store.apply(&[QueueChange::Add(queued(1, Some(1), "to here"))]).unwrap();
    drop(store);
    let mut store = state(&root).outgoing("another server").unwrap();
    assert_eq!(store.load().unwrap().0, []);
    store.apply(&[QueueChange::Add(queued(2, None, "to another"))]).unwrap();
    assert_eq!(store.bind(ELSEWHERE).unwrap(), []);
    drop(store);
    let mut store = state(&root).outgoing("new address").unwrap();
    assert_eq!(store.load().unwrap().0, []);
    assert_eq!(store.bind(HERE).unwrap(), [queued(1, Some(1), "to here")]);
    assert_eq!(store.bind(HERE).unwrap(), [], "once");
    drop(store);
    assert_eq!(state(&root).outgoing("new address").unwrap().load().unwrap().0, [queued(1, Some(1), "to here")]);
}

#[test]
fn two_readers_exclude_each_other_and_so_do_two_senders_but_one_of_each_goes() {
    let root = tempfile::tempdir().unwrap();
    let reader = state(&root).checkpoints(HERE).unwrap();
    let sender = state(&root).outgoing("server").unwrap();
    assert_eq!(state(&root).checkpoints(HERE).unwrap_err().code, Code::Busy);
    assert_eq!(state(&root).outgoing("server").unwrap_err().code, Code::Busy);
    drop(reader);
    state(&root).checkpoints(HERE).unwrap();
    drop(sender);
    state(&root).outgoing("server").unwrap();
}

#[test]
fn another_format_is_refused_by_name_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("newer.sqlite");
    drop(SqliteCheckpoints::open(&path).unwrap());
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = SqliteCheckpoints::open(&path).unwrap_err();
    assert_eq!(error.code, Code::Unusable);
    assert!(error.message.contains("newer.sqlite"), "{error}");

    let path = root.path().join("foreign.sqlite");
    Connection::open(&path).unwrap().execute_batch("PRAGMA application_id = 77").unwrap();
    assert_eq!(SqliteCheckpoints::open(&path).unwrap_err().code, Code::Unusable);

    let path = root.path().join("text");
    fs::write(&path, "this is no database, and long enough for nobody to think so ".repeat(20)).unwrap();
    assert_eq!(SqliteCheckpoints::open(&path).unwrap_err().code, Code::Unusable);
    assert!(fs::read(&path).unwrap().starts_with(b"this is no database"));
}

#[test]
fn names_become_paths_that_stay_apart() {
    assert_eq!(escape("grace-1_B"), "grace-1_B");
    assert_eq!(escape("../a"), "%2e%2e%2fa");
    assert_ne!(escape("a b"), escape("a%20b"));
    assert_eq!(StateDir::new("x", "", "phone").unwrap_err().code, Code::InvalidArgument);
}
