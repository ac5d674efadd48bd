//! Reading timelines: what a user has missed, what a conversation says, and who is woken when there is more.
//!
//! A timeline lies in three places: the store up to `State::persisted`, the frozen head behind it, the active head
//! after that. A read takes the state's lock for short pieces of work (ids, copies of positions from the active head)
//! and lets go of it before it touches the store or the log; then it takes it again to judge the records that it has
//! read. That needs no snapshot, since lists only ever grow: whatever is at or below a position that was visible once
//! stays as it is, and positions above it are left out.
//!
//! - [`sync`](mod@sync) merges inbox and followed outboxes into deltas; [`candidates`] finds their positions, [`gaps`] holds
//!   the cap per conversation, [`form`] says whether a page holds entries or bytes, [`snapshot`] answers devices that start anew.
//! - [`history`](mod@history) reads a conversation by seq; [`outbox`] finds the positions.
//! - [`list`] tells conversations, members and devices; [`unread`] counts.
//! - [`shown`] turns a record into what its reader sees: intervals, redactions, names.
//! - [`subscription`] wakes those who wait for more.
//!
//! A read may be confined to what is in memory ([`Reach::Memory`]): it is the same read, and stops with
//! [`Halt::OutOfReach`] where it would have to touch the disk.
//!
//! The work for one page is bounded: by the limits of what it holds, and by how many positions it looks at.

mod candidates;
mod form;
mod gaps;
mod history;
mod list;
mod outbox;
mod shown;
mod snapshot;
mod subscription;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod unread;
mod whole;

pub(crate) use form::{Encoded, Entries};
pub(crate) use history::history;
pub(crate) use list::{conversations, devices, members};
pub(crate) use outbox::position_of;
pub(crate) use shown::entry;
pub use subscription::Subscription;
pub(crate) use subscription::Subscriptions;
pub(crate) use sync::sync;
pub(crate) use whole::{whole_inbox, whole_outbox};

use crate::commit::Pulls;
use crate::log::{Found, LogReader};
use crate::reach::{Halt, Reach};
use crate::state::State;
use crate::store::Store;
use crate::sync::RwLock;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Position, UserId};
use highwater_proto::limits::PAGE_ENTRIES_MAX;

/// Records read from the log at a time: what bounds the memory of one read, besides its page.
const BATCH_RECORDS: usize = 64;

/// What a read goes by.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a RwLock<State>,
    pub(crate) store: &'a Store,
    pub(crate) log: &'a LogReader,
    pub(crate) pulls: &'a Pulls,
    pub(crate) reach: Reach,
}

impl View<'_> {
    /// The records at these positions, which are ascending and visible.
    fn records(&self, positions: &[Position]) -> Result<Vec<Found>, Halt> {
        match self.reach {
            Reach::Memory => self.log.look_up(positions).ok_or(Halt::OutOfReach),
            Reach::Disk => Ok(self.log.read_many(positions)?),
        }
    }
}

fn user_id(state: &State, user: &str) -> Result<UserId, Error> {
    let id = state.names.user(user);
    id.ok_or_else(|| Error::new(Code::NotFound, format!("user {user:?} does not exist")))
}

/// How many entries a page of a list may have: 0 or too many means the most.
fn page_entries(limit: usize) -> usize {
    if limit == 0 { PAGE_ENTRIES_MAX } else { limit.min(PAGE_ENTRIES_MAX) }
}
