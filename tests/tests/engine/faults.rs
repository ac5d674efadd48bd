//! Damage and failing disks: each gives its documented answer, and no damaged byte is ever served (promises P8, P9).

use crate::fixture::{Seed, Store, conversation, member, receipt, refusal, send, session};
use highwater_engine::entry::{Body, ResetReason, Start, SyncLimits, What};
use highwater_engine::proto::checkpoint::Checkpoint;
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::id::{Epoch, Position};
use highwater_engine::proto::record::Kind;
use highwater_engine::{Engine, Options, SendSession};
use highwater_tests::world::scratch;
use std::collections::BTreeMap;
use std::sync::mpsc::channel;

/// A store with a group of three, and a session of its first member.
fn begin(options: Options) -> (Store, Engine, SendSession) {
    let store = Store::new(options);
    let engine = store.open();
    engine.execute(conversation(Kind::Group, "g", &[member(0), member(1), member(2)])).unwrap();
    let session = session(&engine, "user-0", "d", false);
    (store, engine, session)
}

fn say(engine: &Engine, session: SendSession, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        receipt(engine, send(session, number, "g", format!("message {number}")));
    }
}

/// Bodies of all messages as a member syncs them, by number.
fn heard(engine: &Engine) -> Result<Vec<String>, Error> {
    let mut page = engine.sync("user-1", Start::Beginning, SyncLimits::default())?;
    let mut bodies = Vec::new();
    loop {
        for entry in &page.records {
            if let What::Message { body: Body::Original(body), .. } = &entry.what {
                bodies.push(String::from_utf8_lossy(body).into_owned());
            }
        }
        if page.caught_up {
            return Ok(bodies);
        }
        page = engine.sync_next("user-1", page.next, SyncLimits::default())?;
    }
}

fn expected(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("message {number}")).collect()
}

/// The log's files: their names and contents.
fn files(store: &Store) -> BTreeMap<String, Vec<u8>> {
    use highwater_engine::log::disk::Disk;
    let names = store.disk.list().unwrap().into_iter();
    names.map(|name| (name.clone(), store.disk.contents(&name).unwrap())).collect()
}

fn segments(store: &Store) -> Vec<String> {
    files(store).into_keys().filter(|name| name.ends_with(".seg")).collect()
}

/// Where a text stands in the log.
fn find(store: &Store, text: &str) -> (String, usize) {
    for (name, bytes) in files(store) {
        if let Some(place) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            return (name, place);
        }
    }
    panic!("{text:?} stands nowhere in the log");
}

fn flip(store: &Store, name: &str, place: usize) {
    let mut bytes = store.disk.contents(name).unwrap();
    bytes[place] ^= 0x10;
    store.disk.set_contents(name, &bytes);
}

/// Opening is refused as damage that is named: file, offset and position.
fn assert_named(opened: Result<Engine, Error>, file: &str) {
    let error = opened.err().expect("damage is not opened");
    assert_eq!(error.code, Code::Corrupt, "{error}");
    assert!(error.message.contains(file), "it names the file {file}: {error}");
    assert!(error.message.contains("offset") && error.message.contains("position"), "it names the place: {error}");
}

#[test]
fn a_torn_tail_is_cut_off() {
    let (store, engine, session) = begin(Options::default());
    say(&engine, session, 1..=20);
    let checkpoint = engine.sync("user-1", Start::Beginning, SyncLimits::default()).unwrap().checkpoint.unwrap();
    store.crash(engine);
    // Half a frame behind what was synced, as a write that was under way leaves it.
    let name = segments(&store).pop().unwrap();
    let mut bytes = store.disk.contents(&name).unwrap();
    let (_, place) = find(&store, "message 20");
    let end = bytes.len().min(place + 400);
    let from = bytes[place..end].iter().rposition(|byte| *byte != 0).map_or(place, |last| place + last + 1);
    let copy = bytes[place - 60..place].to_vec();
    bytes.resize(bytes.len().max(from + copy.len()), 0);
    bytes[from..from + copy.len()].copy_from_slice(&copy);
    store.disk.set_contents(&name, &bytes);
    let engine = store.open();
    assert_eq!(heard(&engine).unwrap(), expected(1..=20));
    // The checkpoint names nothing that was lost.
    let delta = engine.sync("user-1", Start::Checkpoint(checkpoint), SyncLimits::default()).unwrap();
    assert_eq!((delta.reset, delta.records.len()), (None, 0));
}

#[test]
fn a_flipped_bit_in_the_last_acknowledged_frame_is_named_after_a_clean_close() {
    let (store, engine, session) = begin(Options::default());
    say(&engine, session, 1..=20);
    engine.close().unwrap();
    let (name, place) = find(&store, "message 20");
    flip(&store, &name, place);
    assert_named(store.try_open(), &name);
}

#[test]
fn a_lost_last_frame_that_nothing_vouches_for_is_announced() {
    let (store, engine, session) = begin(Options::default());
    say(&engine, session, 1..=20);
    let ahead = engine.sync("user-1", Start::Beginning, SyncLimits::default()).unwrap().checkpoint.unwrap();
    store.crash(engine);
    let (name, place) = find(&store, "message 20");
    flip(&store, &name, place);
    // The fence is at most about a second old: it may or may not vouch for the last frame.
    let engine = match store.try_open() {
        Err(error) => return assert_eq!(error.code, Code::Corrupt, "{error}"),
        Ok(engine) => engine,
    };
    assert_eq!(heard(&engine).unwrap(), expected(1..=19), "it is not served as data");
    let delta = engine.sync("user-1", Start::Checkpoint(ahead), SyncLimits::default()).unwrap();
    assert_eq!(delta.reset, Some(ResetReason::Epoch), "whoever had seen it is told");
    // The number was not used, as far as the store knows: the client's next try is accepted.
    let session = crate::fixture::session(&engine, "user-0", "d", false);
    assert_eq!(session.last_client_seq, 19);
    say(&engine, session, 20..=21);
    assert_eq!(heard(&engine).unwrap(), expected(1..=21));
}

#[test]
fn a_damaged_frame_in_the_middle_is_named() {
    for is_clean in [true, false] {
        let (store, engine, session) = begin(Options::default());
        say(&engine, session, 1..=20);
        if is_clean {
            engine.close().unwrap();
        } else {
            store.crash(engine);
        }
        let (name, place) = find(&store, "message 9");
        flip(&store, &name, place);
        assert_named(store.try_open(), &name);
    }
}

/// An index that covers everything lets an opening skip the log; then the damage is found when it is read.
#[test]
fn damage_below_the_index_is_never_served() {
    let mut seed = Seed::random("bit flips");
    let options = || Options { segment_bytes_max: 4 << 10, ..Options::default() };
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    for _ in 0..60 {
        let (store, engine, session) = begin(options());
        say(&engine, session, 1..=100);
        engine.close().unwrap();
        let files = files(&store);
        let names: Vec<&String> = files.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name).collect();
        let name = names[seed.below(names.len() as u64) as usize];
        // Behind the last frame there are only zeros: half of the flips go where something was written.
        let written = files[name].iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        flip(&store, name, seed.below(written as u64) as usize);
        match store.try_open() {
            Err(error) => {
                assert_eq!(error.code, Code::Corrupt, "{name}: {error}");
                refused += 1;
            }
            Ok(engine) => match heard(&engine) {
                Err(error) => {
                    assert_eq!(error.code, Code::Corrupt, "{name}: {error}");
                    found += 1;
                }
                Ok(bodies) => {
                    assert_eq!(bodies, expected(1..=100), "a flip in {name} was served");
                    harmless += 1;
                }
            },
        }
    }
    println!("bit flips: {refused} refused at opening, {found} found by reading, {harmless} harmless");
    assert!(refused + found >= 15, "what is flipped is mostly what was written");
}

#[test]
fn a_missing_segment_is_named() {
    let (store, engine, session) = begin(Options { segment_bytes_max: 4 << 10, ..Options::default() });
    say(&engine, session, 1..=300);
    engine.close().unwrap();
    let all = segments(&store);
    assert!(all.len() >= 3, "{all:?}");
    let whole = files(&store);
    for name in &all {
        store.disk.lose(name);
        let error = store.try_open().err().expect("a log with a hole is not opened");
        assert_eq!(error.code, Code::Corrupt, "without {name}: {error}");
        store.disk.set_contents(name, &whole[name]);
    }
    assert_eq!(heard(&store.open()).unwrap(), expected(1..=300), "with all of them it opens again");
}

#[test]
fn a_log_shorter_than_the_index_is_refused() {
    let (store, engine, session) = begin(Options::default());
    say(&engine, session, 1..=10);
    engine.close().unwrap();
    let older = files(&store);
    let engine = store.open();
    let session = crate::fixture::session(&engine, "user-0", "d", false);
    say(&engine, session, 11..=20);
    engine.close().unwrap();
    use highwater_engine::log::disk::Disk;
    for name in store.disk.list().unwrap() {
        store.disk.lose(&name);
    }
    for (name, bytes) in older {
        store.disk.set_contents(&name, &bytes);
    }
    let error = store.try_open().err().expect("a log that lacks what the index says is not opened");
    assert_eq!(error.code, Code::Corrupt, "{error}");
    assert!(error.message.contains("position"), "{error}");
}

#[test]
fn a_damaged_index_file_is_refused() {
    let (store, engine, session) = begin(Options::default());
    say(&engine, session, 1..=200);
    engine.close().unwrap();
    let index = store.dir.path().join("index");
    let is_table = |path: &std::path::Path| path.extension().is_some_and(|extension| extension == "sst");
    let tables: Vec<_> =
        std::fs::read_dir(&index).unwrap().map(|file| file.unwrap().path()).filter(|path| is_table(path)).collect();
    assert!(!tables.is_empty(), "the close persisted");
    for table in tables {
        let whole = std::fs::read(&table).unwrap();
        let mut bytes = whole.clone();
        bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0xff);
        std::fs::write(&table, &bytes).unwrap();
        let read = store.try_open().and_then(|engine| heard(&engine).and_then(|_| engine.dump()).map(drop));
        let error = read.expect_err("a damaged table is noticed");
        assert!(matches!(error.code, Code::Corrupt | Code::Io), "{}: {error}", table.display());
        std::fs::write(&table, &whole).unwrap();
    }
    assert_eq!(heard(&store.open()).unwrap(), expected(1..=200));
}

/// After a failed write or sync nothing more is acknowledged; what was acknowledged is there after opening again.
#[test]
fn a_failed_write_or_sync_stops_the_engine() {
    for is_write in [true, false] {
        let (store, engine, session) = begin(Options::default());
        say(&engine, session, 1..=10);
        let (told, poisoned) = channel();
        engine.on_poisoned(Box::new(move |error| told.send(error).unwrap()));
        if is_write {
            store.disk.fail_next_write();
        } else {
            store.disk.fail_next_sync();
        }
        let lost = refusal(&engine, send(session, 11, "g", "message 11"));
        assert!(matches!(lost, Code::OutcomeUnknown | Code::Poisoned), "{lost}");
        assert_eq!(poisoned.recv().unwrap().code, Code::Poisoned, "whoever runs the engine is told");
        assert_eq!(refusal(&engine, send(session, 11, "g", "message 11")), Code::Poisoned);
        assert_eq!(refusal(&engine, send(session, 12, "g", "message 12")), Code::Poisoned);
        assert_eq!(heard(&engine).unwrap(), expected(1..=10), "what is visible can still be read");
        assert!(engine.persist().is_err(), "a poisoned engine does not persist");
        store.crash(engine);
        let engine = store.open();
        assert_eq!(heard(&engine).unwrap(), expected(1..=10));
        let session = crate::fixture::session(&engine, "user-0", "d", false);
        assert_eq!(session.last_client_seq, 10);
        say(&engine, session, 11..=12);
    }
}

/// No space is a state that ends by itself: reads go on, and so do writes once there is room.
#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let (store, engine, session) = begin(Options { segment_bytes_max: 4 << 10, ..Options::default() });
    say(&engine, session, 1..=10);
    store.disk.set_capacity(Some(store.disk.used()));
    let mut next = 11;
    let error = loop {
        // What was reserved before is used up first.
        match engine.execute(send(session, next, "g", format!("message {next}"))) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::ReadOnly, "{error}");
    assert!(error.is_retryable());
    assert_eq!(heard(&engine).unwrap(), expected(1..=next - 1), "reads go on");
    assert_eq!(refusal(&engine, send(session, next, "g", "no room")), Code::ReadOnly);
    store.disk.set_capacity(None);
    say(&engine, session, next..=next + 10);
    store.crash(engine);
    assert_eq!(heard(&store.open()).unwrap(), expected(1..=next + 10), "nothing is lost and nothing is doubled");
}

/// A store that was put back to an older copy has another history: its devices must start anew.
#[test]
fn another_history_is_announced() {
    let (store, engine, session) = begin(Options::default());
    say(&engine, session, 1..=5);
    let checkpoint = engine.sync("user-1", Start::Beginning, SyncLimits::default()).unwrap().checkpoint.unwrap();
    let (_other_store, other, session) = begin(Options::default());
    say(&other, session, 1..=5);
    let delta = other.sync("user-1", Start::Checkpoint(checkpoint), SyncLimits::default()).unwrap();
    assert_eq!(delta.reset, Some(ResetReason::Incarnation));
    let unknown = Checkpoint { epoch: Epoch(99), position: Position(1), ..checkpoint };
    let delta = engine.sync("user-1", Start::Checkpoint(unknown), SyncLimits::default()).unwrap();
    assert_eq!(delta.reset, Some(ResetReason::Epoch));
    drop(store);
}

#[test]
fn one_process_per_store() {
    let dir = scratch();
    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    let error = Engine::open(dir.path(), Options::default()).err().expect("it is in use");
    assert_eq!(error.code, Code::Unusable, "{error}");
    drop(engine);
    Engine::open(dir.path(), Options::default()).unwrap().close().unwrap();
}
