//! A log and nothing else: one thread takes what is queued, encodes it as the engine does, appends it in one write and
//! syncs. What queued up during a sync is the next group.

use super::{Post, record};
use crate::context::Failure;
use crate::store::Done;
use crate::sys;
use highwater_engine::options::Durability;
use highwater_engine::proto::frame::GroupBuilder;
use highwater_engine::proto::id::{Epoch, Position};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The queue of a raw log. Dropping it ends the log.
pub struct RawLog {
    queue: Option<Sender<(Post, Done)>>,
    bytes: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

/// Most bytes of a group, as in the engine.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// The file's space is reserved in steps of this, as in the engine.
const STEP_BYTES: u64 = 4 << 20;

impl RawLog {
    /// Begins a log in an empty directory.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)?;
        let file = OpenOptions::new().create_new(true).write(true).open(directory.join("log"))?;
        let bytes = Arc::new(AtomicU64::new(0));
        let (queue, posts) = channel();
        let writer = Writer { file, end: 0, reserved: 0, written: bytes.clone(), scratch: Vec::new() };
        let run = move || run(writer, &posts, durability);
        let writer = std::thread::Builder::new().name("raw-log".to_owned()).spawn(run)?;
        Ok(Self { queue: Some(queue), bytes, writer: Some(writer) })
    }

    /// Queues a post; `done` is called when it is durable.
    ///
    /// # Errors
    /// The log has ended after a failure.
    pub fn submit(&self, post: Post, done: Done) -> Result<(), Failure> {
        let queue = self.queue.as_ref().ok_or("the log is closed")?;
        queue.send((post, done)).map_err(|_| "the log has ended".into())
    }

    /// Bytes appended so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for RawLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A panic was printed where it happened.
            let _ended = writer.join();
        }
    }
}

struct Writer {
    file: File,
    end: u64,
    reserved: u64,
    written: Arc<AtomicU64>,
    scratch: Vec<u8>,
}

fn run(mut writer: Writer, posts: &Receiver<(Post, Done)>, durability: Durability) {
    let mut position = 1;
    let mut synced_at = Instant::now();
    while let Ok(first) = posts.recv() {
        let mut group = GroupBuilder::new(Position(position));
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some((post, done)) = next {
            group.push(&record(&post, position));
            waiting.push(done);
            position += 1;
            next = if group.bytes() < GROUP_BYTES_MAX { posts.try_recv().ok() } else { None };
        }
        let is_synced = match durability {
            Durability::Power => true,
            Durability::Crash { sync_interval } => synced_at.elapsed() >= sync_interval.max(Duration::from_millis(1)),
        };
        let is_written = writer.append(&group, is_synced).is_ok();
        if is_synced {
            synced_at = Instant::now();
        }
        for done in waiting {
            done(is_written);
        }
    }
}

impl Writer {
    fn append(&mut self, group: &GroupBuilder, is_synced: bool) -> io::Result<()> {
        self.scratch.clear();
        self.scratch.extend_from_slice(&group.header(Epoch(1), Position(0)).encode(1));
        self.scratch.extend_from_slice(group.payload());
        let bytes = self.scratch.len() as u64;
        if self.end + bytes > self.reserved {
            self.reserved = (self.end + bytes).next_multiple_of(STEP_BYTES);
            sys::reserve(&self.file, self.reserved)?;
        }
        self.file.write_all_at(&self.scratch, self.end)?;
        self.end += bytes;
        self.written.store(self.end, Ordering::Relaxed);
        if is_synced { self.file.sync_data() } else { Ok(()) }
    }
}
