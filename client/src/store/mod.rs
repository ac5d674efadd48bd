//! What a device keeps between runs.
//!
//! Two stores, because they have two owners: a reader keeps how far it has got ([`CheckpointStore`]), a sender keeps
//! what it has not been told the receipt of ([`OutgoingStore`]). Both may be used side by side, by different processes.

mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::command::{LocalId, Numbered};
use bytes::Bytes;
use highwater_proto::error::Error;
use highwater_proto::id::Incarnation;
pub use memory::{MemoryCheckpoints, MemoryOutgoing};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteCheckpoints, SqliteOutgoing, StateDir};
use std::sync::Arc;

/// How far a device has got. The bytes are the server's and opaque; the position tells whether a delta follows on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here has been delivered.
    pub position: u64,
    /// As it came with a delta.
    pub bytes: Bytes,
}

/// Keeps the checkpoint of one user's device.
///
/// Both functions may block on a disk; they are called where the application calls
/// [`Subscription::next_batch`](crate::Subscription::next_batch) and [`Batch::commit`](crate::Batch::commit).
pub trait CheckpointStore: Send + 'static {
    /// The checkpoint to go on from with a server of this incarnation.
    ///
    /// A store may give one of another incarnation: the server answers that with a reset, which is how an application
    /// that keeps what it read learns that it has to drop it.
    ///
    /// # Errors
    /// `io` or `unusable` if the store cannot be read.
    fn load(&mut self, incarnation: Incarnation) -> Result<Option<Checkpoint>, Error>;

    /// Keeps a checkpoint in place of the one before; durable when it returns.
    ///
    /// # Errors
    /// `io` if it could not be kept; the one before stands then.
    fn store(&mut self, incarnation: Incarnation, checkpoint: &Checkpoint) -> Result<(), Error>;
}

/// A command that has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its place in the queue.
    pub local: LocalId,
    /// The number under which it was first transmitted, or is about to be; `None`: never was.
    pub number: Option<u64>,
    /// What it asks for; shared with the client's own queue.
    pub command: Arc<Numbered>,
}

/// A change of the queue of unsent commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueChange {
    /// A command is queued, at the end.
    Add(Queued),
    /// A command is about to be transmitted under this number; or, with `None`, is known not to have been accepted.
    Number {
        /// Which command.
        local: LocalId,
        /// Its number from now on.
        number: Option<u64>,
    },
    /// The message that a command quotes was accepted with this seq.
    Quote {
        /// Which command: a message.
        local: LocalId,
        /// The seq that it quotes from now on.
        seq: u64,
    },
    /// A command was answered, or withdrawn.
    Remove(LocalId),
}

/// Keeps the numbers and bodies of commands that were not answered yet, for one device of a user on one server.
pub trait OutgoingStore: Send + 'static {
    /// What is queued, in order, and the first local id that was never used. Called once, before anything else.
    ///
    /// # Errors
    /// `io` or `unusable` if the store cannot be read.
    fn load(&mut self) -> Result<(Vec<Queued>, LocalId), Error>;

    /// The server turned out to be of this incarnation. Gives what is queued for it besides what `load` gave.
    ///
    /// # Errors
    /// `io` if the store cannot be read or written.
    fn bind(&mut self, incarnation: Incarnation) -> Result<Vec<Queued>, Error>;

    /// Makes all of these changes or none; durable when it returns.
    ///
    /// # Errors
    /// `io` if they could not be made.
    fn apply(&mut self, changes: &[QueueChange]) -> Result<(), Error>;

    /// Whether the functions may wait for a disk, so that they have to stay off asynchronous threads.
    fn may_block(&self) -> bool {
        true
    }
}
