//! The tail: the newest records of the log, decoded, in memory, so that reading them costs no system call, no checksum
//! and no decoding, however many readers want the same.
//!
//! Records stand in blocks of consecutive positions, blocks in a ring in the order of their numbers, so that a position
//! is found without searching. Memory is bounded in bytes; whole blocks are given up, the oldest first. A reader holds
//! the ring's lock only while it takes hold of blocks; what it holds stays valid after the ring has given it up.
//!
//! A record that is missing here (too large, given up, appended before the store was opened) is in the log.

use crate::sync::{Mutex, RwLock};
use bytes::{Bytes, BytesMut};
use highwater_proto::id::Position;
use highwater_proto::limits::ID_BYTES_MAX;
use highwater_proto::record::{Fact, Record};
use std::array;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Consecutive positions of one block: a power of two.
const BLOCK_RECORDS: u64 = 64;
/// Bytes of a block besides what its records refer to.
const BLOCK_BYTES: usize = size_of::<Block>();
/// Most bytes of the names in a record's encoded form: conversation, author, device.
const NAMES_BYTES: usize = 3 * ID_BYTES_MAX;

/// The newest records, within a number of bytes. One thread adds, any thread reads.
pub(super) struct Tail {
    bytes_max: usize,
    /// Ascending by number and without holes.
    blocks: RwLock<VecDeque<Arc<Block>>>,
    filling: Mutex<Filling>,
}

/// What only the thread that adds needs to know.
#[derive(Default)]
struct Filling {
    /// Taken by all blocks of the ring.
    bytes: usize,
    /// The last block of the ring.
    current: Option<Arc<Block>>,
}

/// The positions `number * BLOCK_RECORDS` up to the next block's.
struct Block {
    number: u64,
    /// Bytes that its records refer to, encoded forms included.
    bytes: AtomicUsize,
    /// A slot is filled once, before anybody is told of the position.
    slots: [OnceLock<Slot>; BLOCK_RECORDS as usize],
}

struct Slot {
    record: Record,
    encoded: OnceLock<Bytes>,
}

/// A record of the tail. Cloning takes another hold of the same.
#[derive(Clone)]
pub(crate) struct Kept {
    block: Arc<Block>,
    index: usize,
}

impl Tail {
    /// An empty one. With 0 bytes it stays empty.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, blocks: RwLock::default(), filling: Mutex::default() }
    }

    /// Adds records that were appended to the log, in ascending order from call to call.
    pub(super) fn extend(&self, records: &[Record]) {
        let bodies: usize = records.iter().filter_map(|record| body(record)).map(Bytes::len).sum();
        // A command's body may share a buffer with much that was received along with it, so bodies are copied.
        let mut buffer = BytesMut::with_capacity(bodies);
        let filling = &mut *self.filling.lock();
        for record in records {
            let bytes = referred_bytes(record);
            let number = record.position.0 / BLOCK_RECORDS;
            let Some(block) = self.block(filling, number, bytes) else { continue };
            let index = (record.position.0 % BLOCK_RECORDS) as usize;
            let slot = Slot { record: with_body_in(&mut buffer, record), encoded: OnceLock::new() };
            if block.slots[index].set(slot).is_ok() {
                block.bytes.fetch_add(bytes, Ordering::Relaxed);
                filling.bytes += bytes;
            }
        }
    }

    /// The block for a record that refers to so many bytes; older ones are given up for it. `None` if it is too large.
    fn block(&self, filling: &mut Filling, number: u64, bytes: usize) -> Option<Arc<Block>> {
        let current = filling.current.as_ref().filter(|block| block.number == number);
        if let Some(block) = current.filter(|_| filling.bytes + bytes <= self.bytes_max) {
            return Some(block.clone());
        }
        if BLOCK_BYTES + bytes > self.bytes_max {
            return None;
        }
        // Dropped when the ring's lock is free again.
        let mut given_up = Vec::new();
        let mut blocks = self.blocks.write();
        let mut is_there = current.is_some();
        let follows = blocks.back().is_none_or(|last| last.number == number || last.number + 1 == number);
        loop {
            let needed = bytes + if is_there { 0 } else { BLOCK_BYTES };
            if follows && filling.bytes + needed <= self.bytes_max {
                break;
            }
            let Some(oldest) = blocks.pop_front() else { break };
            is_there &= oldest.number != number;
            filling.bytes -= BLOCK_BYTES + oldest.bytes.load(Ordering::Relaxed);
            given_up.push(oldest);
        }
        if !is_there {
            let block = Arc::new(Block::new(number));
            filling.bytes += BLOCK_BYTES;
            filling.current = Some(block.clone());
            blocks.push_back(block);
        }
        filling.current.clone()
    }

    /// Calls `each` with what is here of each of these positions, until it returns false.
    pub(super) fn look_up(&self, positions: &[Position], mut each: impl FnMut(Option<Kept>) -> bool) {
        let blocks = self.blocks.read();
        let first = blocks.front().map_or(u64::MAX, |block| block.number);
        for position in positions {
            let place = (position.0 / BLOCK_RECORDS).checked_sub(first);
            let block = place.and_then(|place| blocks.get(usize::try_from(place).ok()?));
            let index = (position.0 % BLOCK_RECORDS) as usize;
            let kept = block.filter(|block| block.slots[index].get().is_some());
            if !each(kept.map(|block| Kept { block: block.clone(), index })) {
                return;
            }
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.filling.lock().bytes
    }
}

impl Block {
    fn new(number: u64) -> Self {
        Self { number, bytes: AtomicUsize::new(0), slots: array::from_fn(|_| OnceLock::new()) }
    }
}

impl Kept {
    /// The place for the record's encoded form, shared by all who hold the record.
    pub(crate) fn encoded(&self) -> &OnceLock<Bytes> {
        &self.slot().encoded
    }

    fn slot(&self) -> &Slot {
        self.block.slots[self.index].get().expect("a slot that is handed out is filled, and stays so")
    }
}

impl Deref for Kept {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.slot().record
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slot().record.fmt(f)
    }
}

fn body(record: &Record) -> Option<&Bytes> {
    match &record.fact {
        Fact::Message(message) => Some(&message.body),
        Fact::Edit { body, .. } => Some(body),
        _ => None,
    }
}

/// The record, its body copied to the buffer, which has room for it.
fn with_body_in(buffer: &mut BytesMut, record: &Record) -> Record {
    let mut record = record.clone();
    if let Fact::Message(highwater_proto::record::Message { body, .. }) | Fact::Edit { body, .. } = &mut record.fact {
        buffer.extend_from_slice(body);
        *body = buffer.split().freeze();
    }
    record
}

/// About how many bytes a record refers to, counted as if its encoded form, with names of the greatest length, were
/// there already.
fn referred_bytes(record: &Record) -> usize {
    let ids = |count: usize| count * (size_of::<u32>() + ID_BYTES_MAX);
    NAMES_BYTES
        + match &record.fact {
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
    fn the_oldest_blocks_are_given_up_for_bytes() {
        let bytes_max = 4 * BLOCK_BYTES + 60_000;
        let tail = Tail::new(bytes_max);
        let mut last = 0;
        for count in [1, 5, 64, 200, 3, 1_000, 1] {
            tail.extend(&records(last + 1..=last + count));
            last += count;
            assert!(tail.bytes() <= bytes_max, "{} bytes of {bytes_max}", tail.bytes());
            let found = positions(&tail, last + 200);
            let first = *found.first().expect("the newest is there");
            assert!(first == 1 || first.is_multiple_of(BLOCK_RECORDS), "{first} begins a block");
            assert!(found.iter().copied().eq(first..=last), "there are holes in {found:?}");
            // Another block would not have had room.
            assert!(first == 1 || last - first + 1 >= BLOCK_RECORDS, "only {first} to {last}");
        }
    }

    #[test]
    fn what_is_too_large_is_left_out_and_what_is_nearly_so_makes_room() {
        let tail = Tail::new(BLOCK_BYTES + 100_000);
        let large = |position: u64, bytes: usize| {
            let mut large = record(Position(position), 0);
            large.fact = Fact::Edit { target: large.seq, target_position: Position(1), body: vec![7; bytes].into() };
            large
        };
        tail.extend(&records(1..=10));
        tail.extend(&[large(11, 60_000)]);
        tail.extend(&records(12..=12));
        assert_eq!(positions(&tail, 100), (1..=10).chain([12]).collect::<Vec<_>>(), "one is too large");
        tail.extend(&[large(13, 49_000)]);
        let mut found = Vec::new();
        tail.look_up(&[Position(12), Position(13)], |kept| {
            found.push(kept.map(|kept| kept.position.0));
            true
        });
        assert_eq!(found, [None, Some(13)], "the block is given up for it, and begun anew");
        assert!(tail.bytes() <= BLOCK_BYTES + 100_000);
    }

    #[test]
    fn a_tail_may_begin_anywhere_and_skip_what_it_never_saw() {
        let tail = Tail::new(1 << 20);
        tail.extend(&records(1_000..=1_010));
        assert_eq!(positions(&tail, 2_000), (1_000..=1_010).collect::<Vec<_>>());
        tail.extend(&records(1_900..=1_901));
        assert_eq!(positions(&tail, 2_000), [1_900, 1_901]);
        let none = Tail::new(0);
        none.extend(&records(1..=10));
        assert_eq!(positions(&none, 100), [0; 0]);
    }

    #[test]
    fn what_a_reader_holds_outlives_the_ring() {
        let tail = Tail::new(2 * BLOCK_BYTES);
        tail.extend(&records(1..=1));
        let mut held = None;
        tail.look_up(&[Position(1)], |kept| {
            held = kept;
            true
        });
        tail.extend(&records(2..=1_000));
        assert_eq!(positions(&tail, 10), [0; 0]);
        let held = held.expect("it was there");
        assert_eq!(*held, record(Position(1), 0));
        held.encoded().get_or_init(|| Bytes::from_static(b"encoded"));
        assert_eq!(held.clone().encoded().get().map(|bytes| &bytes[..]), Some(&b"encoded"[..]));
    }
}
