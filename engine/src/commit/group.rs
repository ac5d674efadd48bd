//! A group: the records of one frame on their way, and the answers that wait for them.

use super::shared::Shared;
use crate::command::{Completion, Outcome};
use crate::options::Options;
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::GroupBuilder;
use highwater_proto::id::Position;
use highwater_proto::record::Record;

/// Records that are assigned together, and what to answer once they are visible.
pub(crate) struct Group {
    pub(crate) frame: GroupBuilder,
    pub(crate) records: Vec<Record>,
    /// In the order of the commands. A refusal, too, waits here: it was derived from what is not visible yet.
    pub(crate) answers: Vec<(Completion, Reply)>,
    /// Room that its commands take in the queue until they are answered, in bytes.
    pub(super) queue_bytes: usize,
    /// Timeline entries that its records make.
    pub(super) entries: usize,
    /// An upper bound of its records' bytes.
    pub(super) bytes_max: usize,
}

/// Most bytes of one group's records; one command always fits.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// What to answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This.
    Ready(Result<Outcome, Error>),
    /// [`Outcome::Changed`] with the record at this index of the group.
    Changed(usize),
}

impl Group {
    /// An empty group whose first record will have this position, for so many commands.
    pub(super) fn new(first: Position, commands: usize) -> Self {
        Self {
            frame: GroupBuilder::new(first),
            records: Vec::with_capacity(commands),
            answers: Vec::with_capacity(commands),
            queue_bytes: 0,
            entries: 0,
            bytes_max: 0,
        }
    }

    /// Whether nothing more should go in.
    pub(super) fn is_full(&self) -> bool {
        self.bytes_max >= GROUP_BYTES_MAX
    }

    /// Whether records that make so many entries may go in: what makes more than is allowed goes alone.
    pub(super) fn has_room_for(&self, entries: usize, options: &Options) -> bool {
        self.entries == 0 || self.entries + entries <= options.group_entries_max
    }

    /// Encodes its records for the log.
    pub(super) fn encode(&mut self) {
        self.frame.reserve(self.bytes_max, self.records.len());
        self.records.iter().for_each(|record| self.frame.push(record));
    }

    /// Answers everybody that the outcome is not known, because the engine stopped.
    pub(super) fn abandon(self, shared: &Shared, why: &Error) {
        shared.release(self.queue_bytes);
        let unknown = Error::new(Code::OutcomeUnknown, why.message.clone());
        for (completion, _) in self.answers {
            completion(Err(unknown.clone()));
        }
    }
}
