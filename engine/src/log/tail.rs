//! The tail: the newest records of the log, decoded, in memory, so that reading them costs no system call, no checksum
//! and no decoding, however many readers want the same.
//!
//! Records stand in runs of consecutive positions, as they were committed, and are never moved; runs in a ring, the newest
//! last. Memory is bounded in bytes; whole runs are given up, the oldest first. A reader holds the ring's lock only while
//! it takes hold of runs; what it holds stays valid after the ring has given it up.
//!
//! A record that is missing here (of too large a run, given up, appended before the store was opened) is in the log.

use crate::sync::RwLock;
use bytes::Bytes;
use highwater_proto::id::Position;
use highwater_proto::limits::ID_BYTES_MAX;
use highwater_proto::record::{Fact, Message, Record};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Most bytes of the names in a record's encoded form: conversation, author, device.
const NAMES_BYTES: usize = 3 * ID_BYTES_MAX;

/// The newest records, within a number of bytes. One thread at a time adds, any thread reads.
pub(super) struct Tail {
    bytes_max: usize,
    ring: RwLock<Ring>,
}

#[derive(Default)]
struct Ring {
    /// Ascending, each with its last position. Between two of them positions may be missing.
    runs: VecDeque<(Position, Arc<Run>)>,
    /// Taken by all of them.
    bytes: usize,
}

/// Records at consecutive positions.
pub(crate) struct Run {
    records: Vec<Record>,
    /// A place for each record's encoded form, once somebody asks for one.
    encoded: OnceLock<Box<[OnceLock<Bytes>]>>,
}

/// A record of the tail. Cloning takes another hold of the same.
#[derive(Clone)]
pub(crate) struct Kept {
    run: Arc<Run>,
    index: usize,
}

impl Tail {
    /// An empty one. With 0 bytes it stays empty.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ring: RwLock::default() }
    }

    /// Keeps records that were appended to the log, in ascending order from call to call; older ones are given up for
    /// them. If they are too large, they are only given back.
    pub(super) fn keep(&self, mut records: Vec<Record>) -> Arc<Run> {
        let bytes = run_bytes(&records);
        let Some(last) = records.last().map(|record| record.position).filter(|_| bytes <= self.bytes_max) else {
            return Arc::new(Run::new(records));
        };
        take_bodies(&mut records);
        let run = Arc::new(Run::new(records));
        // Dropped when the lock is free again.
        let mut given_up = Vec::new();
        let mut ring = self.ring.write();
        while ring.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = ring.runs.pop_front() else { break };
            ring.bytes -= run_bytes(&oldest.records);
            given_up.push(oldest);
        }
        ring.bytes += bytes;
        ring.runs.push_back((last, run.clone()));
        drop(ring);
        run
    }

    /// Calls `each` with what is here of each of these positions, until it returns false.
    pub(super) fn look_up(&self, positions: &[Position], mut each: impl FnMut(Option<Kept>) -> bool) {
        let ring = self.ring.read();
        let mut place = usize::MAX;
        for position in positions {
            // Positions that follow on each other mostly stand in the same run.
            let mut found = ring.runs.get(place).and_then(|(_, run)| Kept::of(run, *position));
            if found.is_none() {
                place = ring.runs.partition_point(|(last, _)| last < position);
                found = ring.runs.get(place).and_then(|(_, run)| Kept::of(run, *position));
            }
            if !each(found) {
                return;
            }
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.ring.read().bytes
    }
}

impl Run {
    fn new(records: Vec<Record>) -> Self {
        Self { records, encoded: OnceLock::new() }
    }
}

impl Deref for Run {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.records
    }
}

impl Kept {
    fn of(run: &Arc<Run>, position: Position) -> Option<Self> {
        let index = usize::try_from(position.0.checked_sub(run.first()?.position.0)?).ok()?;
        (index < run.len()).then(|| Self { run: run.clone(), index })
    }

    /// The place for the record's encoded form, shared by all who hold the record.
    pub(crate) fn encoded(&self) -> &OnceLock<Bytes> {
        let places = || self.run.iter().map(|_| OnceLock::new()).collect();
        &self.run.encoded.get_or_init(places)[self.index]
    }
}

impl Deref for Kept {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.run[self.index]
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

fn body(record: &mut Record) -> Option<&mut Bytes> {
    match &mut record.fact {
        Fact::Message(Message { body, .. }) | Fact::Edit { body, .. } => Some(body),
        _ => None,
    }
}

/// Copies all bodies to memory of their own: a command's may share a buffer with much that was received along with it.
fn take_bodies(records: &mut [Record]) {
    let bytes = records.iter_mut().filter_map(body).map(|body| body.len()).sum();
    let mut buffer = Vec::with_capacity(bytes);
    records.iter_mut().filter_map(body).for_each(|body| buffer.extend_from_slice(body));
    let (buffer, mut begin) = (Bytes::from(buffer), 0);
    for body in records.iter_mut().filter_map(body) {
        let end = begin + body.len();
        *body = buffer.slice(begin..end);
        begin = end;
    }
}

/// About how many bytes a run takes, counted as if every encoded form, with names of the greatest length, were there
/// already.
fn run_bytes(records: &Vec<Record>) -> usize {
    let each = size_of::<OnceLock<Bytes>>() + NAMES_BYTES;
    size_of::<(Position, Run)>()
        + records.capacity() * size_of::<Record>()
        + records.iter().map(|record| each + referred_bytes(record)).sum::<usize>()
}

/// How many bytes a record refers to, twice what is in its encoded form, too.
fn referred_bytes(record: &Record) -> usize {
    let ids = |count: usize| count * (size_of::<u32>() + ID_BYTES_MAX);
    match &record.fact {
        Fact::Message(message) => 2 * message.body.len() + ids(message.mentions.len()),
        Fact::Edit { body, .. } => 2 * body.len(),
        Fact::Create { members, .. } | Fact::Add { members } | Fact::Remove { members } => ids(members.len()),
        Fact::User { name, .. } | Fact::Conversation { name, .. } | Fact::Device { name, .. } => name.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Record> {
        range.map(|position| record(Position(position), 0)).collect()
    }

    /// Positions up to `last` that the tail has, each with the right record.
    fn positions(tail: &Tail, last: u64) -> Vec<u64> {
        let all: Vec<Position> = (0..=last).map(Position).collect();
        let mut found = Vec::new();
        let mut wanted = all.iter();
        tail.look_up(&all, |kept| {
            let position = wanted.next().expect("an answer for each position");
            if let Some(kept) = kept {
                assert_eq!(*kept, record(*position, 0));
                found.push(position.0);
            }
            true
        });
        found
    }

    #[test]
    fn the_oldest_runs_are_given_up_for_bytes() {
        let bytes_max = 200_000;
        let tail = Tail::new(bytes_max);
        let mut last = 0;
        let mut firsts = Vec::new();
        for count in [1, 5, 64, 200, 3, 100, 1, 150, 1] {
            let run = tail.keep(records(last + 1..=last + count));
            assert_eq!(run.len() as u64, count);
            firsts.push(last + 1);
            last += count;
            assert!(tail.bytes() <= bytes_max, "{} bytes of {bytes_max}", tail.bytes());
            let found = positions(&tail, last + 200);
            let first = *found.first().expect("the newest is there");
            assert!(firsts.contains(&first), "{first} begins a run");
            assert!(found.iter().copied().eq(first..=last), "there are holes in {found:?}");
            let before = firsts.iter().rposition(|other| *other < first).map(|place| firsts[place]);
            let more = before.map_or(0, |before| run_bytes(&records(before..=first - 1)));
            assert!(more == 0 || tail.bytes() + more > bytes_max, "there is room for the run from {before:?} on");
        }
    }

    #[test]
    fn what_is_too_large_is_left_out_and_what_is_nearly_so_makes_room() {
        let large = |position: u64, bytes: usize| {
            let mut large = record(Position(position), 0);
            large.fact = Fact::Edit { target: large.seq, target_position: Position(1), body: vec![7; bytes].into() };
            large
        };
        let bytes_max = run_bytes(&vec![large(13, 49_000)]);
        let tail = Tail::new(bytes_max);
        tail.keep(records(1..=10));
        let given_back = tail.keep(vec![large(11, 60_000)]);
        assert_eq!(given_back[0], large(11, 60_000));
        tail.keep(records(12..=12));
        assert_eq!(positions(&tail, 100), (1..=10).chain([12]).collect::<Vec<_>>(), "one is too large");
        tail.keep(vec![large(13, 49_000)]);
        let mut found = Vec::new();
        tail.look_up(&[Position(12), Position(13)], |kept| {
            found.push(kept.map(|kept| kept.position.0));
            true
        });
        assert_eq!(found, [None, Some(13)], "the others are given up for it");
        assert_eq!(tail.bytes(), bytes_max);
    }

    #[test]
    fn a_tail_may_begin_anywhere_and_skip_what_it_never_saw() {
        let tail = Tail::new(1 << 20);
        tail.keep(records(1_000..=1_010));
        assert_eq!(positions(&tail, 2_000), (1_000..=1_010).collect::<Vec<_>>());
        tail.keep(records(1_900..=1_901));
        assert_eq!(positions(&tail, 2_000), (1_000..=1_010).chain([1_900, 1_901]).collect::<Vec<_>>());
        let none = Tail::new(0);
        assert_eq!(none.keep(records(1..=10)).len(), 10);
        assert_eq!(positions(&none, 100), [0; 0]);
        assert!(tail.keep(Vec::new()).is_empty());
    }

    #[test]
    fn bodies_do_not_hold_what_they_came_in() {
        let tail = Tail::new(1 << 20);
        let received = Bytes::from(vec![7; 1_000]);
        let mut records = records(1..=3);
        for (record, bytes) in records.iter_mut().zip([0..100, 100..100, 900..1_000]) {
            let body = received.slice(bytes);
            record.fact = Fact::Edit { target: record.seq, target_position: Position(1), body };
        }
        let run = tail.keep(records.clone());
        assert_eq!(run[..], records[..]);
        drop(records);
        assert!(received.is_unique(), "somebody holds on to it");
    }

    #[test]
    fn what_a_reader_holds_outlives_the_ring() {
        let tail = Tail::new(100_000);
        tail.keep(records(1..=1));
        let mut held = None;
        tail.look_up(&[Position(1)], |kept| {
            held = kept;
            true
        });
        for position in 2..=1_000 {
            tail.keep(records(position..=position));
        }
        assert_eq!(positions(&tail, 10), [0; 0]);
        let held = held.expect("it was there");
        assert_eq!(*held, record(Position(1), 0));
        held.encoded().get_or_init(|| Bytes::from_static(b"encoded"));
        assert_eq!(held.clone().encoded().get().map(|bytes| &bytes[..]), Some(&b"encoded"[..]));
    }
}
