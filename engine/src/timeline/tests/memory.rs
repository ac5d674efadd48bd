//! Reads confined to memory: they never touch the disk, stop exactly where they would have to, and otherwise say the
//! same; and what is shared of them is the same for everybody.

use super::*;
use crate::entry::{Entry, Place};
use crate::log::disk::{Disk, DiskFile};
use crate::log::sim::SimDisk;
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A disk that counts reads.
struct Watched {
    disk: SimDisk,
    reads: Arc<AtomicUsize>,
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    reads: Arc<AtomicUsize>,
}

impl Watched {
    fn watch(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, reads: self.reads.clone() })
    }
}

impl Disk for Watched {
    fn prepare(&self) -> io::Result<()> {
        self.disk.prepare()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watch(self.disk.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.watch(self.disk.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

impl DiskFile for WatchedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A store with a tail of so many bytes, and its disk's number of reads.
fn store(tail_bytes_max: usize) -> (Fixture, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let disk = Arc::new(Watched { disk: SimDisk::new(), reads: reads.clone() });
    let options = Options { tail_bytes_max, disk: Some(disk), create_named_users: true, ..Options::default() };
    (Fixture::with(options), reads)
}

/// Messages, edits and recalls in a group in write mode and one in read mode, as a seed says.
fn talk(fixture: &mut Fixture, seed: &mut u64, commands: usize) {
    for number in 0..commands {
        let mut below = |limit: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) % limit
        };
        let group = ["write", "read"][below(2) as usize];
        let sender = ["ann", "bob"][below(2) as usize];
        match below(8) {
            0 | 1 => {
                let target = fixture.history("ann", group, HistoryRange::Newest, 1)[0];
                let target = 1 + below(target);
                // What is no message of the sender's is refused, and what was recalled already changes nothing.
                let (session, client_seq) = fixture.session(sender);
                let (conversation, target, body) = (group.into(), Seq(target), format!("edit {number}").into());
                let command = match below(2) {
                    0 => Command::Edit { session, client_seq, conversation, target, body },
                    _ => Command::Recall { session, client_seq, conversation, target },
                };
                if !matches!(fixture.engine.execute(command), Ok(Outcome::Receipt(_))) {
                    fixture.sessions.entry(sender.to_owned()).and_modify(|(_, last)| *last -= 1);
                }
            }
            _ => {
                fixture.send(sender, group, &format!("{number} {}", "x".repeat(below(300) as usize)));
            }
        }
    }
}

fn groups(fixture: &Fixture) {
    for group in ["write", "read"] {
        fixture.group(group, &["ann", "bob", "cy"]);
    }
    fixture.pin("read", Fanout::Read);
}

#[test]
fn confined_to_memory_a_read_stops_exactly_where_it_needs_the_disk() {
    let (mut answered, mut stopped) = (0, 0);
    let mut seed = 7;
    for tail_bytes_max in [0, 20 << 10, 60 << 10, 32 << 20] {
        let (mut fixture, reads) = store(tail_bytes_max);
        groups(&fixture);
        talk(&mut fixture, &mut seed, 300);
        let checkpoint = fixture.checkpoint();
        for position in (0..=fixture.engine.visible().0).rev() {
            let start = Start::Checkpoint(Checkpoint { position: Position(position), ..checkpoint });
            for limits in [WHOLE, limits(3, 0), limits(20, 5), limits(0, 1)] {
                let before = reads.load(Ordering::SeqCst);
                let in_memory = fixture.engine.try_sync("cy", start, limits).unwrap();
                assert_eq!(reads.load(Ordering::SeqCst), before, "confined to memory, from {position}");
                let page = fixture.engine.sync("cy", start, limits).unwrap();
                // Nothing was persisted: the disk is needed for the log alone.
                let needs_disk = reads.load(Ordering::SeqCst) > before;
                assert_eq!(in_memory.is_none(), needs_disk, "from {position}, {limits:?}, tail {tail_bytes_max}");
                match in_memory {
                    Some(in_memory) => {
                        assert_eq!(in_memory, page, "from {position}, {limits:?}");
                        answered += 1;
                    }
                    None => stopped += 1,
                }
            }
        }
    }
    assert!(answered > 1_000 && stopped > 1_000, "{answered} answered, {stopped} stopped");
}

#[test]
fn what_is_only_in_the_index_is_out_of_reach_until_somebody_has_read_it() {
    let (mut fixture, _) = store(32 << 20);
    groups(&fixture);
    talk(&mut fixture, &mut 1, 50);
    let before = fixture.engine.sync("cy", Start::Beginning, WHOLE).unwrap();
    assert!(fixture.engine.try_sync("cy", Start::Beginning, WHOLE).unwrap().is_some());
    fixture.engine.persist().unwrap();
    assert_eq!(fixture.engine.try_sync("cy", Start::Beginning, WHOLE), Ok(None), "no block is in memory yet");
    // Whoever has everything up to the persist does not need the index.
    let caught_up = Start::Checkpoint(before.checkpoint.unwrap());
    fixture.send("ann", "read", "new");
    let new = fixture.engine.try_sync("cy", caught_up, WHOLE).unwrap().expect("it is in memory");
    assert_eq!(seen(&new.records), of("read", &[(new.records[0].seq.0, "new")]));
    let next = fixture.engine.try_sync_next("cy", new.next, WHOLE).unwrap().expect("there is nothing to read");
    assert!(next.records.is_empty() && next.caught_up);
    let whole = fixture.engine.sync("cy", Start::Beginning, WHOLE).unwrap();
    assert_eq!(fixture.engine.try_sync("cy", Start::Beginning, WHOLE), Ok(Some(whole)), "now its blocks are cached");
    assert_eq!(code(fixture.engine.try_sync("nobody", Start::Beginning, WHOLE)), Code::NotFound);
}

#[test]
fn what_is_redacted_or_told_to_one_reader_is_never_shared() {
    let (mut fixture, _) = store(32 << 20);
    fixture.group("g", &["ann", "bob"]);
    fixture.send("ann", "g", "original");
    fixture.send("ann", "g", "to be edited");
    fixture.send("ann", "g", "to be recalled");
    let shared = |fixture: &Fixture, user: &str, conversation: &str| -> Vec<(u64, bool)> {
        let page = fixture.engine.sync(user, Start::Beginning, WHOLE).unwrap();
        let entries = page.records.iter().filter(|entry| *entry.conversation == *conversation);
        entries.map(|entry| (entry.seq.0, entry.common.encoded().is_some())).collect()
    };
    assert_eq!(shared(&fixture, "bob", "g"), [(1, true), (2, true), (3, true), (4, true)]);
    fixture.edit("ann", "g", 3, "edited");
    fixture.edit("ann", "g", 4, "edited in vain");
    fixture.recall("ann", "g", 4);
    let expected = [(1, true), (2, true), (3, false), (4, false), (5, true), (6, false), (7, true)];
    assert_eq!(shared(&fixture, "bob", "g"), expected);
    // A new member who may not read the edit would not be shown it; who reads history is shown what others are.
    let entry = &fixture.engine.history("ann", "g", HistoryRange::After(Seq(1)), 1).unwrap()[0];
    let other = &fixture.engine.sync("bob", Start::Beginning, WHOLE).unwrap().records[1];
    entry.common.encoded().unwrap().get_or_init(|| "encoded".into());
    assert_eq!(other.common.encoded().unwrap().get().unwrap(), "encoded", "the place is one for all readers");
    // Of a channel's followers each is told its own coming only.
    fixture.create(Kind::Channel, "news", &["ann", "bob"]);
    fixture.add("news", "cy");
    assert_eq!(shared(&fixture, "bob", "news"), [(1, false)]);
    assert_eq!(shared(&fixture, "cy", "news"), [(0, false)]);
}

#[test]
fn what_one_reader_was_given_encoded_is_given_to_others_until_it_is_redacted() {
    let (mut fixture, _) = store(32 << 20);
    fixture.group("g", &["ann", "bob"]);
    fixture.send("ann", "g", "first");
    fixture.send("ann", "g", "second");
    let made = Cell::new(0);
    let read = |fixture: &Fixture, user: &str| -> Vec<Bytes> {
        made.set(0);
        let encode = |entry: Entry| {
            made.set(made.get() + 1);
            format!("{:?}", entry.what).into()
        };
        let place = Place::Start(Start::Beginning);
        fixture.engine.try_sync_encoded(user, place, WHOLE, &encode).unwrap().expect("all is in memory").records
    };
    let first = read(&fixture, "ann");
    assert_eq!(made.get(), first.len());
    let (messages, again) = (first.len() - 2, read(&fixture, "bob"));
    assert_eq!(made.get(), 0, "nothing is encoded again");
    assert_eq!(first[messages..], again[again.len() - 2..]);
    for bytes_max in 1..20 {
        let (start, limits) = (Start::Beginning, SyncLimits { bytes_max, ..WHOLE });
        let entries = fixture.engine.sync("bob", start, limits).unwrap();
        let page = fixture.engine.sync_encoded("bob", Place::Start(start), limits, &|_| Bytes::new()).unwrap();
        assert_eq!((page.to, page.records.len()), (entries.to, entries.records.len()), "at most {bytes_max} bytes");
    }
    fixture.recall("ann", "g", 3);
    let redacted = read(&fixture, "bob");
    assert_eq!(made.get(), 2, "the recalled message, and the recall");
    assert!(String::from_utf8_lossy(&redacted[again.len() - 1]).contains("Recalled"));
}
