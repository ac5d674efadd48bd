//! The index against the state it was made from: persisted, reopened, cut off, damaged.

use super::script::{ALICE, BOB, CAROL, CHANNEL, GROUP, INCARNATION, apply, open, persist, varied};
use super::{Rows, SoftDevice, Store};
use crate::reach::Reach;
use crate::state::{Head, OutboxEntry, State};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Incarnation, Ordinal, Position, Seq, UserId};
use highwater_proto::record::Record;
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn everything(store: &Store, state: &State) -> Result<String, Error> {
    let mut text = String::new();
    state.dump(&mut text);
    let (all, through) = (usize::MAX, state.persisted);
    for user in (1..).map(UserId).take(state.users.len()) {
        let mut inbox = store.inbox_after(user, Position::ZERO, through, all, Reach::Disk)?;
        inbox.extend(state.head.inbox(user, Position::ZERO, Position(u64::MAX)));
        writeln!(text, "inbox {user} {inbox:?}").expect("a string");
    }
    for conversation in (1..).map(ConversationId).take(state.conversations.len()) {
        let mut outbox: Vec<OutboxEntry> = store
            .outbox_after(conversation, Position::ZERO, through, all, Reach::Disk)?
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        if let Some(head) = state.head.outbox(conversation) {
            outbox.extend(head.entries());
        }
        writeln!(text, "outbox {conversation} {outbox:?}").expect("a string");
    }
    Ok(text)
}

/// The rows that changed, encoded.
fn rows(store: &Store, state: &mut State) -> Rows {
    let (head, changed) = state.freeze(None);
    let mut rows = store.rows(state, changed, head.base());
    assert!(rows.encode(state, usize::MAX));
    rows
}

/// What `records` lead to, without any index.
fn expected(records: &[Record]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut state) = open(directory.path());
    apply(&mut state, records);
    everything(&store, &state).expect("an empty index")
}

/// Persisted after each of these numbers of records, and opened anew after each persist if `reopen` says so, the index
/// and what follows in the log give the same state as the log alone.
fn check(records: &[Record], persists: &[usize], reopen: bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut store, mut state) = open(directory.path());
    let mut applied = 0;
    for end in persists {
        apply(&mut state, &records[applied..*end]);
        persist(&store, &mut state, &[]);
        applied = *end;
        assert_eq!(everything(&store, &state).expect("reading"), expected(&records[..applied]));
        if reopen {
            drop(store);
            (store, state) = open(directory.path());
            assert_eq!((state.applied, state.persisted), (Position(applied as u64), Position(applied as u64)));
            assert_eq!(state.dirty.len(), 0);
            assert_eq!(everything(&store, &state).expect("reading"), expected(&records[..applied]));
        }
    }
    apply(&mut state, &records[applied..]);
    assert_eq!(everything(&store, &state).expect("reading"), expected(records));
}

#[test]
fn what_was_persisted_is_there_after_reopening() {
    let records = varied(700);
    check(&records, &[records.len()], true);
}

#[test]
fn persists_add_up() {
    let records = varied(700);
    let len = records.len();
    check(&records, &[1, 2, 8, 9, 11, 300, 301, 302, len - 5, len], true);
    check(&records, &[10, 400, 401, len - 1, len], false);
}

#[test]
fn many_persists_are_merged_and_lose_nothing() {
    let records = varied(600);
    let persists: Vec<usize> = (1..=60).map(|n| n * 10).collect();
    check(&records, &persists, false);
}

#[test]
fn soft_state_is_kept_beside_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut state) = open(directory.path());
    let records = varied(10);
    apply(&mut state, &records[..8]);
    let (seen, other) = (
        SoftDevice { acknowledged: Position(8), last_seen_ms: 5 },
        SoftDevice { acknowledged: Position(3), last_seen_ms: 4 },
    );
    persist(&store, &mut state, &[(DeviceId(2), seen), (DeviceId(1), other)]);
    // The device itself changes: what it said stays.
    apply(&mut state, &records[8..]);
    persist(&store, &mut state, &[(DeviceId(1), seen), (DeviceId(99), seen)]);
    drop(store);
    let loaded = Store::open(directory.path()).and_then(|store| store.load()).expect("loading").expect("a history");
    assert_eq!(loaded.soft, HashMap::from([(DeviceId(1), seen), (DeviceId(2), seen)]));
}

#[test]
fn without_a_persist_nothing_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let records = varied(100);
    let (store, mut state) = open(directory.path());
    apply(&mut state, &records[..50]);
    persist(&store, &mut state, &[]);
    apply(&mut state, &records[50..]);
    // Encoding rows writes nothing: the process may end between that and the persist.
    let rows = rows(&store, &mut state);
    drop((rows, store));
    let (store, state) = open(directory.path());
    assert_eq!(everything(&store, &state).expect("reading"), expected(&records[..50]));
}

/// Commits go on between the slices in which frozen rows are encoded; what is written is what they said at the freeze.
#[test]
fn rows_are_written_as_they_were_at_the_freeze() {
    let records = varied(200);
    for (slice, applied_between) in [(1, 1), (1, 7), (5, 1), (40, 60)] {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, mut state) = open(directory.path());
        let mut rest = &records[..];
        let mut frozen_at = 0;
        for end in [50, 120, 150, records.len()] {
            let applied = records.len() - rest.len();
            apply(&mut state, &rest[..end.max(applied) - applied]);
            rest = &records[end.max(applied)..];
            let (head, changed) = state.freeze(None);
            frozen_at = state.applied.0 as usize;
            let mut rows = store.rows(&state, changed, head.base());
            rows.sort();
            while !rows.encode(&mut state, slice) {
                let (now, later) = rest.split_at(applied_between.min(rest.len()));
                apply(&mut state, now);
                rest = later;
            }
            store.persist(rows, &head).expect("persisting");
            (state.frozen, state.persisted) = (None, Position(frozen_at as u64));
            let stored = Store::open_read_only(directory.path()).expect("opening");
            let loaded = stored.load().expect("loading").expect("a history").state;
            assert_eq!(everything(&stored, &loaded), Ok(expected(&records[..frozen_at])), "slices of {slice}");
        }
        assert_eq!(frozen_at, records.len(), "the last freeze was after everything");
    }
}

#[test]
fn what_was_persisted_is_on_disk_before_the_index_is_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, copy) = (directory.path().join("index"), directory.path().join("copy"));
    let records = varied(100);
    let (store, mut state) = open(&path);
    apply(&mut state, &records);
    persist(&store, &mut state, &[]);
    // What another process would find if this one was killed here; closing an index writes what was not flushed.
    fs::create_dir(&copy).expect("a directory");
    for entry in fs::read_dir(&path).expect("a directory") {
        let file = entry.expect("an entry").path();
        fs::copy(&file, copy.join(file.file_name().expect("a name"))).expect("copying");
    }
    assert_eq!(read_all(&copy), Ok(expected(&records)));
}

#[test]
fn a_persist_that_fails_leaves_the_one_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, elsewhere) = (directory.path().join("index"), directory.path().join("elsewhere"));
    let records = varied(100);
    let (store, mut state) = open(&path);
    apply(&mut state, &records[..50]);
    persist(&store, &mut state, &[]);
    apply(&mut state, &records[50..]);
    // No file can be made where the index was.
    fs::rename(&path, &elsewhere).expect("renaming");
    let error = store.persist(rows(&store, &mut state), &Head::default()).expect_err("there is no directory");
    assert_eq!(error.code, Code::Io, "{error}");
    drop(store);
    fs::rename(&elsewhere, &path).expect("renaming");
    let (store, state) = open(&path);
    assert_eq!(everything(&store, &state).expect("reading"), expected(&records[..50]));
}

#[test]
fn a_history_begins_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("opening");
    assert!(store.load().expect("loading").is_none());
    drop(store);
    let store = Store::open(directory.path()).expect("opening");
    assert!(store.load().expect("loading").is_none(), "opening alone begins no history");
    store.initialize(INCARNATION).expect("initializing");
    assert_eq!(store.initialize(Incarnation([8; 16])).map_err(|error| error.code), Err(Code::Unusable));
    drop(store);
    let (_, state) = open(directory.path());
    assert_eq!(state.incarnation, INCARNATION);
}

/// A conversation whose records stand at positions 3, 6, 9, ..., in chunks as `persists` cut them.
fn outbox(path: &Path, persists: &[usize]) -> (Store, Vec<(Seq, OutboxEntry)>) {
    let (store, mut state) = open(path);
    let mut entries = Vec::new();
    for count in persists {
        let mut head = Head::default();
        // Neighbours in the order of keys, to be told apart from it.
        for (conversation, distance) in [(GROUP, 1), (CHANNEL, 0), (ConversationId(3), 2)] {
            for index in 0..*count {
                let seq = Seq((entries.len() + index + 1) as u64);
                let entry =
                    OutboxEntry { position: Position(seq.0 * 3 + distance), countable: seq.0.is_multiple_of(2) };
                head.push_outbox(conversation, seq, entry);
            }
        }
        let first = entries.len();
        entries.extend(
            head.outbox(CHANNEL)
                .expect("entries")
                .entries()
                .zip(first as u64 + 1..)
                .map(|(entry, seq)| (Seq(seq), entry)),
        );
        store.persist(rows(&store, &mut state), &head).expect("persisting");
    }
    (store, entries)
}

#[test]
fn outboxes_are_read_from_any_place() {
    for persists in [&[1][..], &[511], &[512], &[513], &[1025], &[1, 1, 1, 700, 3, 512, 1, 40, 1025], &[1; 30]] {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, entries) = outbox(directory.path(), persists);
        let end = entries.len() as u64 * 3;
        let mut outboxes = store.outboxes(Reach::Disk);
        let interesting = |at: &u64| end < 200 || *at < 12 || at.is_multiple_of(97) || (at % 1536) < 8 || *at > end - 8;
        for after in (0..=end + 4).filter(interesting).map(Position) {
            for (through, limit) in
                [(Position(u64::MAX), 3), (Position(after.0 + 5), usize::MAX), (Position(end / 2), 600)]
            {
                let wanted: Vec<_> = entries
                    .iter()
                    .filter(|(_, entry)| after < entry.position && entry.position <= through)
                    .take(limit)
                    .copied()
                    .collect();
                let found = store.outbox_after(CHANNEL, after, through, limit, Reach::Disk).expect("reading");
                assert_eq!(found, wanted, "after {after} through {through}");
                // One reader of many outboxes, wherever another one has left it.
                let other = [GROUP, ConversationId(3), ConversationId(4)][(after.0 % 3) as usize];
                outboxes.after(other, after, through, limit).expect("reading");
                let found = outboxes.after(CHANNEL, after, through, limit).expect("reading");
                assert_eq!(found, wanted, "after {after} through {through}, and after {other}");
                let from = Seq(after.0 / 3);
                let wanted: Vec<_> = entries
                    .iter()
                    .filter(|(seq, entry)| from <= *seq && entry.position <= through)
                    .take(limit)
                    .copied()
                    .collect();
                assert_eq!(
                    store.outbox_from(CHANNEL, from, limit, through, Reach::Disk).expect("reading"),
                    wanted,
                    "from {from}"
                );
            }
        }
        assert_eq!(store.outbox_after(ConversationId(4), Position(0), Position(end), 9, Reach::Disk), Ok(Vec::new()));
        assert_eq!(store.outbox_from(ConversationId(0), Seq(1), 9, Position(end), Reach::Disk), Ok(Vec::new()));
        assert_eq!(store.outbox_after(CHANNEL, Position(0), Position(end), 0, Reach::Disk), Ok(Vec::new()));
    }
}

#[test]
fn inboxes_are_read_from_any_place() {
    for persists in [&[1][..], &[511], &[512], &[513], &[1025], &[1, 700, 3, 512, 40]] {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, mut state) = open(directory.path());
        let mut positions = Vec::new();
        for count in persists {
            let mut head = Head::default();
            for index in 0..*count {
                let position = Position((positions.len() + index + 1) as u64 * 3);
                for (user, distance) in [(ALICE, 1), (BOB, 0), (CAROL, 2)] {
                    head.push_inbox(user, Position(position.0 + distance));
                }
            }
            positions.extend(head.inbox(BOB, Position::ZERO, Position(u64::MAX)));
            store.persist(rows(&store, &mut state), &head).expect("persisting");
        }
        let end = positions.len() as u64 * 3;
        for after in (0..=end + 4).map(Position) {
            for (through, limit) in
                [(Position(u64::MAX), 3), (Position(after.0 + 5), usize::MAX), (Position(end / 2), 600)]
            {
                let wanted = positions.iter().filter(|position| after < **position && **position <= through);
                let wanted: Vec<_> = wanted.take(limit).copied().collect();
                assert_eq!(
                    store.inbox_after(BOB, after, through, limit, Reach::Disk),
                    Ok(wanted),
                    "after {after} through {through}"
                );
            }
        }
        assert_eq!(store.inbox_after(UserId(4), Position(0), Position(end), 9, Reach::Disk), Ok(Vec::new()));
    }
}

fn table_files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect();
    files.sort();
    files
}

/// Opens and reads everything: the error, or what was read.
fn read_all(path: &Path) -> Result<String, Error> {
    let store = Store::open(path)?;
    let loaded = store.load()?.ok_or(Error::new(Code::NotFound, "no history"))?;
    everything(&store, &loaded.state)
}

#[test]
fn a_damaged_file_is_named_and_not_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let records = varied(700);
    let (store, mut state) = open(directory.path());
    apply(&mut state, &records);
    persist(&store, &mut state, &[]);
    drop(store);
    let whole = read_all(directory.path()).expect("undamaged");
    let mut named = 0;
    for file in table_files(directory.path()) {
        let good = fs::read(&file).expect("a file");
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        for at in (0..good.len()).step_by(good.len() / 40 + 1) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&file, &bad).expect("writing");
            match read_all(directory.path()) {
                // Some bytes of a file say nothing that is ever read.
                Ok(text) => assert_eq!(text, whole, "byte {at} of {name} was served"),
                Err(error) => {
                    assert_eq!(error.code, Code::Corrupt, "byte {at} of {name}: {error}");
                    named += usize::from(error.message.contains(name));
                }
            }
        }
        fs::write(&file, &good).expect("writing");
    }
    assert!(named > 100, "only {named} errors named their file");
    assert_eq!(read_all(directory.path()), Ok(whole));
}

#[test]
fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut state) = open(directory.path());
    apply(&mut state, &varied(10));
    persist(&store, &mut state, &[]);
    drop(store);
    for file in table_files(directory.path()) {
        let good = fs::read(&file).expect("a file");
        fs::remove_file(&file).expect("removing");
        let error = read_all(directory.path()).expect_err("a file is missing");
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(error.code == Code::Corrupt && error.message.contains(name), "{error}");
        fs::write(&file, good).expect("writing");
    }
    fs::remove_file(directory.path().join("CURRENT")).expect("removing");
    let error = read_all(directory.path()).expect_err("no new index beside the old one");
    assert!(error.code == Code::Corrupt && error.message.contains("CURRENT"), "{error}");
}

#[test]
fn unknown_formats_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let mut batch = rocksdb::WriteBatch::default();
    batch.put_cf(store.handle(super::Family::Meta), super::meta::FORMAT_KEY, [2]);
    store.write(batch).expect("writing");
    drop(store);
    let error = Store::open(directory.path()).err().expect("another format");
    assert!(error.code == Code::Unusable && error.message.contains("format 2"), "{error}");

    let directory = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(directory.path());
    store.db.create_cf("inbox.2", &rocksdb::Options::default()).expect("a family");
    drop(store);
    let error = Store::open(directory.path()).err().expect("another family");
    assert!(error.code == Code::Unusable && error.message.contains("inbox.2"), "{error}");

    let directory = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(directory.path());
    store.db.drop_cf("follows").expect("a family");
    drop(store);
    let error = Store::open(directory.path()).err().expect("a family less");
    assert!(error.code == Code::Corrupt && error.message.contains("follows"), "{error}");
}

#[test]
fn contradictions_between_rows_are_damage() {
    use super::{Family, follows, memberships, names, recalled};
    let records = varied(100);
    /// A row, its new value or none, and the family in which that is noticed.
    type Case = (Family, Vec<u8>, Option<Vec<u8>>, Family);
    let bad: [Case; 7] = [
        (Family::Names, names::key(names::Named::User, 5).into(), Some(b"eve".into()), Family::Names),
        (Family::Names, names::key(names::Named::User, 4).into(), Some(b"alice".into()), Family::Names),
        (Family::Names, names::key(names::Named::Device, 4).into(), Some(b"pad".into()), Family::Devices),
        (Family::Follows, follows::key(CAROL, CHANNEL).into(), Some(Vec::new()), Family::Follows),
        (Family::Memberships, memberships::key(ALICE, GROUP).into(), None, Family::Memberships),
        (
            Family::Recalled,
            recalled::key(ConversationId(3)).into(),
            Some(recalled::value(&[Ordinal(1)])),
            Family::Recalled,
        ),
        (Family::Meta, b"other".into(), Some(Vec::new()), Family::Meta),
    ];
    for (family, key, value, noticed) in bad {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, mut state) = open(directory.path());
        apply(&mut state, &records);
        persist(&store, &mut state, &[]);
        let mut batch = rocksdb::WriteBatch::default();
        match value {
            Some(value) => batch.put_cf(store.handle(family), key, value),
            None => batch.delete_cf(store.handle(family), key),
        }
        store.write(batch).expect("writing");
        let error = store.load().err().expect("a contradiction");
        assert!(error.code == Code::Corrupt && error.message.contains(noticed.name()), "{noticed:?}: {error}");
    }
}

#[test]
fn reading_only_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(Store::open_read_only(directory.path()).err().map(|error| error.code), Some(Code::NotFound));
    let (store, mut state) = open(directory.path());
    apply(&mut state, &varied(100));
    persist(&store, &mut state, &[]);
    let whole = everything(&store, &state).expect("reading");
    drop(store);
    let names = || {
        let names =
            fs::read_dir(directory.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let before = names();
    let store = Store::open_read_only(directory.path()).expect("opening");
    let loaded = store.load().expect("loading").expect("a history");
    assert_eq!(everything(&store, &loaded.state), Ok(whole));
    drop(store);
    assert_eq!(names(), before);
}

#[test]
fn a_second_opening_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_store, _) = open(directory.path());
    let error = Store::open(directory.path()).err().expect("in use");
    assert_eq!(error.code, Code::Unusable, "{error}");
}
