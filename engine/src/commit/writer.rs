//! The writer: one thread that makes groups durable.
//!
//! What queued up while the previous group was synced is the next group; there is no timer in `power` mode. A failed
//! write or sync poisons the engine: nothing is tried again, since what is on the disk is not known any more.

use super::group::{Group, WriterInput};
use super::shared::Shared;
use crate::log::LogWriter;
use crate::options::Durability;
use highwater_proto::error::{Code, Error};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

pub(super) struct Writer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) log: LogWriter,
    pub(super) groups: Receiver<WriterInput>,
    pub(super) applier: Sender<Group>,
}

/// How long the writer of a quiet log waits before it looks at its fence, and at a failed disk, again.
const QUIET: Duration = Duration::from_secs(1);

impl Writer<'_> {
    /// Runs until told to end; gives the log back for a clean close.
    pub(super) fn run(mut self) -> LogWriter {
        let mut unsynced_since: Option<Instant> = None;
        loop {
            let wait = match (self.shared.options.durability, unsynced_since) {
                (Durability::Crash { sync_interval }, Some(since)) => sync_interval.saturating_sub(since.elapsed()),
                _ => QUIET,
            };
            match self.groups.recv_timeout(wait) {
                Ok(WriterInput::Group(group)) => self.write(group, &mut unsynced_since),
                Ok(WriterInput::Sync(done)) => {
                    let result = self.sync_appended(&mut unsynced_since);
                    // Whoever asked may have gone.
                    let _told = done.send(result);
                }
                Err(RecvTimeoutError::Timeout) => self.settle(&mut unsynced_since),
                Ok(WriterInput::End) | Err(RecvTimeoutError::Disconnected) => return self.log,
            }
            if self.is_sync_due(unsynced_since) {
                // The failure, if any, has poisoned the engine, which tells everybody.
                let _synced = self.sync_appended(&mut unsynced_since);
            }
        }
    }

    fn is_sync_due(&self, unsynced_since: Option<Instant>) -> bool {
        match (self.shared.options.durability, unsynced_since) {
            (Durability::Crash { sync_interval }, Some(since)) => since.elapsed() >= sync_interval,
            _ => false,
        }
    }

    fn write(&mut self, group: Group, unsynced_since: &mut Option<Instant>) {
        if let Some(error) = self.shared.failure() {
            group.abandon(self.shared, &error);
            return;
        }
        if !group.records.is_empty() {
            let result = self.log.append(&group.frame).and_then(|()| match self.shared.options.durability {
                Durability::Power => self.log.sync(),
                Durability::Crash { .. } => {
                    unsynced_since.get_or_insert_with(Instant::now);
                    Ok(())
                }
            });
            if let Err(error) = result {
                self.shared.poison(&error);
                group.abandon(self.shared, &error);
                return;
            }
        }
        if let Err(unsent) = self.applier.send(group) {
            unsent.0.abandon(self.shared, &Error::new(Code::OutcomeUnknown, "the store was dropped"));
        }
    }

    /// Brings sync and fence up to date while there is nothing else to do.
    fn settle(&mut self, unsynced_since: &mut Option<Instant>) {
        *unsynced_since = None;
        if self.shared.failure().is_none()
            && let Err(error) = self.log.settle()
        {
            self.shared.poison(&error);
        }
    }

    fn sync_appended(&mut self, unsynced_since: &mut Option<Instant>) -> Result<(), Error> {
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        if unsynced_since.take().is_some() {
            self.log.sync().inspect_err(|error| self.shared.poison(error))?;
        }
        Ok(())
    }
}
