//! The log against a plain list of records: written, damaged, cut off, and opened again.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod damage;
mod happy;
mod space;

use super::disk::Disk;
use super::sim::SimDisk;
use super::{LogOptions, LogReader, LogSpace, LogWriter, Opened, open};
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::GroupBuilder;
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fact, Message, Record};
use std::sync::Arc;

/// Segments of a few frames each.
const SMALL: LogOptions = LogOptions { segment_bytes_max: 2_000, tail_bytes_max: 0 };
/// One segment for all that a test writes.
const LARGE: LogOptions = LogOptions { segment_bytes_max: 64 << 10, tail_bytes_max: 0 };

/// A message at a position; `salt` tells records apart that got the same position after a loss.
pub(super) fn record(position: Position, salt: u64) -> Record {
    let length = (position.0.wrapping_mul(37).wrapping_add(salt * 11) % 90) as usize;
    Record {
        position,
        time_ms: 1_700_000_000_000 + position.0,
        author: UserId(7),
        by_service: false,
        device: DeviceId(3),
        client_seq: position.0,
        previous: Position(position.0 - 1),
        conversation: ConversationId(2),
        seq: Seq(position.0),
        ordinal: Ordinal(position.0),
        fact: Fact::Message(Message { body: vec![salt as u8; length].into(), ..Message::default() }),
    }
}

/// A log together with what it should hold.
struct Run {
    options: LogOptions,
    writer: LogWriter,
    reader: LogReader,
    space: LogSpace,
    opened: (Position, Epoch, bool),
    /// Everything appended, in order.
    records: Vec<Record>,
    salt: u64,
}

impl Run {
    /// Opens a log of which `known` was appended before, and checks what it holds: a prefix of it.
    fn open(disk: &SimDisk, options: LogOptions, applied: Position, known: Vec<Record>) -> Result<Self, Error> {
        Self::open_on(Arc::new(disk.clone()), options, applied, known)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        applied: Position,
        mut known: Vec<Record>,
    ) -> Result<Self, Error> {
        let Opened { writer, reader, space, last, epoch, unclean } = open(disk, options, applied)?;
        assert_eq!(writer.synced(), last, "everything that an opened log holds is durable");
        assert!(last.0 as usize <= known.len(), "the log has {last} records of {}", known.len());
        known.truncate(last.0 as usize);
        let salt = u64::from(epoch.0);
        let run = Self { options, writer, reader, space, opened: (last, epoch, unclean), records: known, salt };
        run.check();
        Ok(run)
    }

    fn fresh(disk: &SimDisk, options: LogOptions) -> Self {
        let run = Self::open(disk, options, Position::ZERO, Vec::new()).unwrap();
        assert_eq!(run.opened, (Position::ZERO, Epoch(1), false));
        run
    }

    fn last(&self) -> Position {
        Position(self.records.len() as u64)
    }

    /// Appends a group of `count` records.
    fn append(&mut self, count: u64) -> Result<(), Error> {
        let mut group = GroupBuilder::new(self.last().next());
        for _ in 0..count {
            group.push(&record(group.last().next(), self.salt));
        }
        self.space.reserve(group.bytes() as u64)?;
        self.space.handed_over(&group);
        // Whether it was written or not, it may be found later.
        let from = self.last().0 + 1;
        self.records.extend((from..from + count).map(|position| record(Position(position), self.salt)));
        self.writer.append(&group)
    }

    /// Reads everything, in each of the ways there are.
    fn check(&self) {
        let replayed = self.replay(Position::ZERO);
        assert!(replayed == self.records, "replay differs: {} of {}", replayed.len(), self.records.len());
        let last = self.last();
        for position in [Position(1), Position(last.0 / 2), Position(last.0.saturating_sub(1)), last] {
            if !position.is_zero() && position <= last {
                assert_eq!(*self.reader.read(position).unwrap(), self.records[position.0 as usize - 1]);
            }
            assert!(
                self.replay(position) == self.records[position.min(last).0 as usize..],
                "replay after {position} differs"
            );
        }
        for step in [1, 3, 40] {
            let wanted: Vec<Position> = (1..=last.0).step_by(step).map(Position).collect();
            let expected: Vec<Record> = self.records.iter().step_by(step).cloned().collect();
            let found = self.reader.read_many(&wanted).unwrap();
            assert!(found.iter().map(|record| &**record).eq(&expected), "reading every {step}th differs");
        }
        for absent in [Position::ZERO, last.next(), Position(last.0 + 1_000_000), Position(u64::MAX)] {
            assert_eq!(self.reader.read(absent).unwrap_err().code, Code::NotFound, "position {absent}");
        }
    }

    fn replay(&self, after: Position) -> Vec<Record> {
        let mut records = Vec::new();
        let mut note = |record| {
            records.push(record);
            Ok(())
        };
        self.reader.replay(after, super::Bodies::Read, &mut note).unwrap();
        records
    }

    /// Ends without closing, as a crash does. Returns what was appended.
    fn kill(self) -> Vec<Record> {
        self.records
    }

    fn close(self) -> Vec<Record> {
        self.writer.close().unwrap();
        self.records
    }
}

/// Names of all segments, ascending.
fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    names
}

/// Opens and expects damage whose message holds all of `named`.
fn expect_corrupt(disk: &SimDisk, applied: Position, named: &[&str]) {
    match open(Arc::new(disk.clone()), SMALL, applied) {
        Ok(opened) => panic!("opened at {} where {named:?} is damaged", opened.last),
        Err(error) => {
            assert_eq!(error.code, Code::Corrupt, "{error}");
            for name in named {
                assert!(error.message.contains(name), "{error} does not name {name}");
            }
        }
    }
}

/// A disk of its own with the same durable files.
fn copy(disk: &SimDisk) -> SimDisk {
    let copy = SimDisk::new();
    for name in disk.list().unwrap() {
        copy.set_contents(&name, &disk.contents(&name).unwrap());
    }
    copy
}
