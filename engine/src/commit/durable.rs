//! The log's writing end, for whoever needs it: a group is appended, a persist wants everything synced, a quiet log is
//! settled.
//!
//! A failed write or sync is final: nothing is tried again, since what is on the disk is not known any more.

use super::shared::closed;
use crate::log::LogWriter;
use crate::options::Durability;
use crate::sync::Mutex;
use highwater_proto::error::Error;
use highwater_proto::frame::GroupBuilder;
use std::time::{Duration, Instant};

/// The log's writing end, until it is closed or given up.
pub(crate) struct Durable {
    durability: Durability,
    log: Mutex<Log>,
}

enum Log {
    Open {
        writer: Box<LogWriter>,
        /// When the oldest record was appended that is not synced yet; never set in the mode `power`.
        unsynced_since: Option<Instant>,
    },
    /// Cleanly: everything in it is synced.
    Closed,
    /// As in a crash, or with an error: what of it is synced is not known.
    Broken,
}

/// How far an append has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// It is as durable as the mode says, and nothing is left to be done.
    Settled,
    /// It is the first that waits for a sync: the time until then begins.
    ClockStarts,
}

impl Durable {
    pub(super) fn new(writer: LogWriter, durability: Durability) -> Self {
        Self { durability, log: Mutex::new(Log::Open { writer: Box::new(writer), unsynced_since: None }) }
    }

    /// Appends a group, and syncs it as the durability mode says. There is no timer in `power` mode: what queued up
    /// while the group before was synced is the next group.
    pub(super) fn append(&self, frame: &GroupBuilder) -> Result<Appended, Error> {
        let mut log = self.log.lock();
        let Log::Open { writer, unsynced_since } = &mut *log else { return Err(closed()) };
        writer.append(frame)?;
        match self.durability {
            Durability::Power => writer.sync()?,
            Durability::Crash { .. } if unsynced_since.is_some() => {}
            Durability::Crash { .. } => {
                *unsynced_since = Some(Instant::now());
                return Ok(Appended::ClockStarts);
            }
        }
        Ok(Appended::Settled)
    }

    /// How long the next sync may wait, if anything waits for one.
    pub(super) fn sync_is_due_in(&self) -> Option<Duration> {
        match (&*self.log.lock(), self.durability) {
            (Log::Open { unsynced_since: Some(since), .. }, Durability::Crash { sync_interval }) => {
                Some(sync_interval.saturating_sub(since.elapsed()))
            }
            _ => None,
        }
    }

    /// Syncs whatever was appended and is not synced yet.
    ///
    /// `busy`: the log was given up, as in a crash, so that nothing can be said of it.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match &mut *self.log.lock() {
            Log::Open { writer, unsynced_since } => {
                if unsynced_since.is_some() {
                    // What waits for a sync is forgotten only once it has it: after a failure everybody is refused.
                    writer.sync()?;
                    *unsynced_since = None;
                }
                Ok(())
            }
            Log::Closed => Ok(()),
            Log::Broken => Err(closed()),
        }
    }

    /// Brings sync and fence up to date while there is nothing else to do.
    pub(super) fn settle(&self) -> Result<(), Error> {
        let Log::Open { writer, unsynced_since } = &mut *self.log.lock() else { return Ok(()) };
        writer.settle()?;
        *unsynced_since = None;
        Ok(())
    }

    /// Syncs and leaves the log clean.
    pub(super) fn close(&self) -> Result<(), Error> {
        let mut log = self.log.lock();
        match std::mem::replace(&mut *log, Log::Broken) {
            Log::Open { writer, .. } => {
                writer.close()?;
                *log = Log::Closed;
                Ok(())
            }
            ended => {
                *log = ended;
                Err(closed())
            }
        }
    }

    /// Gives it up as it is, as a crash would.
    pub(super) fn give_up(&self) {
        let mut log = self.log.lock();
        if let Log::Open { .. } = &*log {
            *log = Log::Broken;
        }
    }
}
