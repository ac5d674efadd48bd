//! Writing: everything that changed since the last persist, in one batch that becomes durable as a whole.

use super::family::Family;
use super::rows::{NameCounts, Rows};
use super::{Store, inbox, meta, outbox};
use crate::state::{ChangedRows, Head, State};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Incarnation, Position};
use rocksdb::{FlushOptions, WriteBatch, WriteOptions};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often the flush of a batch is tried before the persist has failed.
const FLUSH_ATTEMPTS: u32 = 4;
/// RocksDB recovers from some failures by itself; it is given this time, and each time more, before it is asked again.
const FLUSH_PAUSE: Duration = Duration::from_millis(50);

/// The names that stand in the index already.
#[derive(Debug, Default)]
pub(super) struct NamesStored {
    users: AtomicU32,
    devices: AtomicU32,
    conversations: AtomicU32,
}

impl NamesStored {
    fn counts(&self) -> NameCounts {
        NameCounts {
            users: self.users.load(Ordering::Acquire),
            devices: self.devices.load(Ordering::Acquire),
            conversations: self.conversations.load(Ordering::Acquire),
        }
    }

    fn set(&self, counts: NameCounts) {
        self.users.store(counts.users, Ordering::Release);
        self.devices.store(counts.devices, Ordering::Release);
        self.conversations.store(counts.conversations, Ordering::Release);
    }

    /// All names of this state stand in the index.
    pub(super) fn set_all_of(&self, state: &State) {
        self.set(NameCounts::of(state));
    }
}

impl Store {
    /// Begins a history in an empty index, durably.
    pub(crate) fn initialize(&self, incarnation: Incarnation) -> Result<(), Error> {
        if self.format()?.is_some() {
            let message = format!("the index {} has a history already", self.path.display());
            return Err(Error::new(Code::Unusable, message));
        }
        let mut batch = WriteBatch::default();
        let meta = self.handle(Family::Meta);
        batch.put_cf(meta, meta::FORMAT_KEY, meta::format_value());
        batch.put_cf(meta, meta::INCARNATION_KEY, incarnation.0);
        batch.put_cf(meta, meta::APPLIED_KEY, meta::applied_value(&(&State::new(incarnation)).into()));
        self.write(batch)
    }

    /// Takes over the rows that were frozen just now: at once, under the lock of the freeze. They are to be
    /// [encoded](Rows::encode) before they are persisted.
    ///
    /// Rows belong to the head that was frozen in the same moment; `since` is that head's base.
    pub(crate) fn rows(&self, state: &State, frozen: ChangedRows, since: Position) -> Rows {
        Rows::new(state, frozen, since, self.names_stored.counts())
    }

    /// Writes encoded rows and the head that was frozen with them, and returns when they are durable.
    ///
    /// After an error the index on disk is as it was, but this store is not to be used any more.
    pub(crate) fn persist(&self, rows: Rows, head: &Head) -> Result<(), Error> {
        let names = rows.names;
        let mut batch = WriteBatch::default();
        let (inboxes, outboxes) = (self.handle(Family::Inbox), self.handle(Family::Outbox));
        head.each_inbox(|user, positions| {
            for (key, value) in inbox::rows(user, positions) {
                batch.put_cf(inboxes, key, value);
            }
        });
        head.each_outbox(|conversation, first, entries| {
            for (key, value) in outbox::rows(conversation, first, entries) {
                batch.put_cf(outboxes, key, value);
            }
        });
        batch.put_cf(self.handle(Family::Meta), meta::APPLIED_KEY, &rows.applied);
        for (family, rows) in rows.finish() {
            let family = self.handle(family);
            rows.each(|key, value| batch.put_cf(family, key, value));
        }
        self.write(batch)?;
        self.names_stored.set(names);
        Ok(())
    }

    /// Writes a batch and flushes all families in one atomic step.
    ///
    /// Only the flush is tried again: it is the same memtables that are flushed then, and nothing is built anew.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|error| self.error(&error))?;
        let families = Family::ALL.map(|family| self.handle(family));
        let families: Vec<_> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let mut attempt = 1;
        loop {
            match self.db.flush_cfs_opt(&families, &options) {
                Ok(()) => return Ok(()),
                Err(error) if attempt == FLUSH_ATTEMPTS => return Err(self.error(&error)),
                Err(error) => tracing::warn!(attempt, %error, "flushing the index failed and is tried again"),
            }
            std::thread::sleep(FLUSH_PAUSE * attempt);
            attempt += 1;
        }
    }
}
