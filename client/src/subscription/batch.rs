//! One delta in the application's hands.

use super::{Event, Subscription};
use crate::store::{Checkpoint, CheckpointStore};
use highwater_proto::error::Error;
use std::fmt;

/// One delta: all its events, and the checkpoint that stands for them.
#[must_use = "a batch that is not committed comes again"]
pub struct Batch<'a, S: CheckpointStore> {
    pub(super) subscription: &'a mut Subscription<S>,
    pub(super) events: Vec<Event>,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl<S: CheckpointStore> fmt::Debug for Batch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("events", &self.events).finish_non_exhaustive()
    }
}

impl<S: CheckpointStore> Batch<'_, S> {
    /// What it holds, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Stores the checkpoint: what the batch holds is never asked for again. May wait for a disk.
    ///
    /// A page of a snapshot has no checkpoint before the last one; committing it says that it was taken.
    ///
    /// # Errors
    /// `io` of the store; the batch comes again.
    pub fn commit(self) -> Result<(), Error> {
        self.subscription.commit(self.checkpoint)
    }

    /// The parts without committing: the subscription still counts it as handed out.
    pub(super) fn into_parts(self) -> (Vec<Event>, Option<Checkpoint>) {
        (self.events, self.checkpoint)
    }
}

#[cfg(feature = "sqlite")]
impl Batch<'_, crate::store::SqliteCheckpoints> {
    /// Stores the checkpoint and what `write` writes, in one transaction: each event takes effect exactly once.
    /// Waits for the disk.
    ///
    /// # Errors
    /// Those of `write`, and `io` of the store: nothing was stored then, and the batch comes again.
    pub fn commit_with<T, E: From<Error>>(
        self,
        write: impl FnOnce(&rusqlite::Transaction<'_>, &[Event]) -> Result<T, E>,
    ) -> Result<T, E> {
        let incarnation = self.subscription.incarnation()?;
        let store = &mut self.subscription.store;
        let written = store.store_with(incarnation, self.checkpoint.as_ref(), |tx| write(tx, &self.events))?;
        self.subscription.was_committed(self.checkpoint);
        Ok(written)
    }
}
