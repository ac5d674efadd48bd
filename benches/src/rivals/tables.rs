//! Inboxes as rows of RocksDB.
//!
//! A row's key is the user and the position, big-endian: a device reads what it has missed by one range. With
//! [`Shape::Index`] its value is the conversation, 16 bytes in all, and the record stands under its position in a family
//! of its own; with [`Shape::Inline`] the value is the record.

use super::tuning::{INBOX, MESSAGES};
use super::{Post, Shape, Tuning, record};
use crate::context::Failure;
use crate::load::Own;
use crate::store::Done;
use highwater_engine::proto::id::Position;
use highwater_engine::proto::record::decode;
use parking_lot::Mutex;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::statistics::Ticker;
use rocksdb::{
    ColumnFamily, DB, Direction, FlushOptions, IteratorMode, Options, ReadOptions, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// An open database with its writers. Dropping it ends them.
pub struct Tables {
    inner: Arc<Inner>,
    options: Options,
    queue: Option<Sender<(Post, Done)>>,
    writers: Vec<JoinHandle<()>>,
}

struct Inner {
    db: DB,
    shape: Shape,
    tuning: Tuning,
    position: AtomicU64,
}

/// What a device got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Records.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Blocks that were not in RocksDB's cache.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub block_bytes: u64,
}

impl Tables {
    /// Opens a database, or creates it.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn open(directory: &Path, shape: Shape, tuning: Tuning) -> Result<Self, Failure> {
        let options = tuning.database();
        let db = DB::open_cf_descriptors(&options, directory, tuning.families(shape))?;
        let last = db.iterator_cf(family(&db, INBOX), IteratorMode::End).next().transpose()?;
        // Reopening is for reading only, so this need not be the highest one of all.
        let last = last.map_or(0, |(key, _)| position_of(&key));
        let inner = Arc::new(Inner { db, shape, tuning, position: AtomicU64::new(last + 1) });
        let (queue, posts) = channel();
        let posts = Arc::new(Mutex::new(posts));
        let writer = |number| {
            let (inner, posts) = (inner.clone(), posts.clone());
            std::thread::Builder::new().name(format!("writer-{number}")).spawn(move || inner.run(&posts))
        };
        let writers = (0..tuning.writers()).map(writer).collect::<Result<_, _>>()?;
        Ok(Self { inner, options, queue: Some(queue), writers })
    }

    /// Queues a post; `done` is called when it is durable.
    ///
    /// # Errors
    /// The writers have ended.
    pub fn submit(&self, post: Post, done: Done) -> Result<(), Failure> {
        let queue = self.queue.as_ref().ok_or("the database is closed")?;
        queue.send((post, done)).map_err(|_| "the writers have ended".into())
    }

    /// Flushes what is in memory, and waits until compactions have nothing left to do: the work that sending left behind.
    ///
    /// # Errors
    /// RocksDB's.
    pub fn settle(&self) -> Result<(), Failure> {
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        for family in self.inner.families() {
            self.inner.db.flush_cf_opt(family, &flush)?;
        }
        Ok(self.inner.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    /// Bytes written since it was opened, by RocksDB's own account.
    pub fn written(&self) -> Own {
        Own {
            log: self.options.get_ticker_count(Ticker::WalFileBytes),
            flushed: self.options.get_ticker_count(Ticker::FlushWriteBytes),
            compacted: self.options.get_ticker_count(Ticker::CompactWriteBytes),
        }
    }

    /// How it is built.
    pub fn built(&self) -> (Shape, Tuning) {
        (self.inner.shape, self.inner.tuning)
    }

    /// The last position that was given.
    pub fn last(&self) -> u64 {
        self.inner.position.load(Ordering::SeqCst) - 1
    }

    /// Reads everything that a user has missed after a position, at most so many records.
    ///
    /// # Errors
    /// RocksDB's, or a record that is missing or damaged.
    pub fn catch_up(&self, user: u32, after: u64, records_max: usize) -> Result<CaughtUp, Failure> {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut counters = PerfContext::default();
        counters.reset();
        let mut caught_up = self.inner.catch_up(user, after, records_max)?;
        caught_up.blocks = counters.metric(PerfMetric::BlockReadCount);
        caught_up.block_bytes = counters.metric(PerfMetric::BlockReadByte);
        set_perf_stats(PerfStatsLevel::Disable);
        Ok(caught_up)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.queue = None;
        for writer in self.writers.drain(..) {
            // A panic was printed where it happened.
            let _ended = writer.join();
        }
    }
}

impl Inner {
    fn run(&self, posts: &Mutex<Receiver<(Post, Done)>>) {
        let mut rows = Vec::new();
        loop {
            let mut batch = WriteBatch::default();
            let mut waiting = Vec::new();
            {
                let posts = posts.lock();
                let Ok(first) = posts.recv() else { return };
                let mut next = Some(first);
                while let Some((post, done)) = next {
                    self.add(&post, &mut batch, &mut rows);
                    waiting.push(done);
                    let bytes = batch.size_in_bytes() + rows.len() * ROW_BYTES;
                    next = if bytes < self.tuning.batch_bytes_max() { posts.try_recv().ok() } else { None };
                }
            }
            self.add_rows(&mut batch, &mut rows);
            let mut options = WriteOptions::default();
            options.set_sync(true);
            let is_written = self.db.write_opt(batch, &options).is_ok();
            for done in waiting {
                done(is_written);
            }
        }
    }

    /// Adds a post to what is to be written. Positions are given here, so that they are in the order of writing when
    /// there is one writer.
    fn add(&self, post: &Post, batch: &mut WriteBatch, rows: &mut Vec<Row>) {
        let position = self.position.fetch_add(1, Ordering::SeqCst);
        let mut bytes = Vec::with_capacity(post.body.len() + 64);
        record(post, position).encode(&mut bytes);
        let value: Arc<[u8]> = match self.shape {
            Shape::Index => {
                batch.put_cf(family(&self.db, MESSAGES), position.to_be_bytes(), &bytes);
                post.conversation.to_be_bytes().as_slice().into()
            }
            Shape::Inline => bytes.into(),
        };
        rows.extend(post.members.iter().map(|user| Row { user: *user, position, value: value.clone() }));
    }

    fn add_rows(&self, batch: &mut WriteBatch, rows: &mut Vec<Row>) {
        if self.tuning != Tuning::Ordinary {
            rows.sort_unstable_by_key(|row| (row.user, row.position));
        }
        let inbox = family(&self.db, INBOX);
        for row in rows.drain(..) {
            batch.put_cf(inbox, key(row.user, row.position), &row.value);
        }
    }

    fn catch_up(&self, user: u32, after: u64, records_max: usize) -> Result<CaughtUp, Failure> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(key(user, u64::MAX));
        let from = key(user, after + 1);
        let mode = IteratorMode::From(&from, Direction::Forward);
        let rows = self.db.iterator_cf_opt(family(&self.db, INBOX), options, mode).take(records_max);
        let mut caught_up = CaughtUp::default();
        if self.shape == Shape::Inline {
            for row in rows {
                let (key, value) = row?;
                caught_up.add(position_of(&key), &value)?;
            }
            return Ok(caught_up);
        }
        let positions = rows.map(|row| row.map(|(key, _)| position_of(&key))).collect::<Result<Vec<u64>, _>>()?;
        let keys: Vec<[u8; 8]> = positions.iter().map(|position| position.to_be_bytes()).collect();
        let values = self.db.batched_multi_get_cf(family(&self.db, MESSAGES), &keys, true);
        for (position, value) in positions.into_iter().zip(values) {
            let value = value?.ok_or("a record is missing")?;
            caught_up.add(position, &value)?;
        }
        Ok(caught_up)
    }

    fn families(&self) -> impl Iterator<Item = &ColumnFamily> {
        [INBOX, MESSAGES].into_iter().filter_map(|name| self.db.cf_handle(name))
    }
}

impl CaughtUp {
    fn add(&mut self, position: u64, bytes: &[u8]) -> Result<(), Failure> {
        let record = decode(Position(position), bytes).map_err(|damage| damage.to_string())?;
        if let highwater_engine::proto::record::Fact::Message(message) = record.fact {
            self.bytes += message.body.len() as u64;
        }
        self.records += 1;
        Ok(())
    }
}

/// A row of an inbox on its way.
struct Row {
    user: u32,
    position: u64,
    value: Arc<[u8]>,
}

/// What a row takes in a batch besides its value, about.
const ROW_BYTES: usize = 20;

fn key(user: u32, position: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&user.to_be_bytes());
    key[4..].copy_from_slice(&position.to_be_bytes());
    key
}

fn position_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("the families of a shape are opened with it")
}
