//! The commit path: from a command to a visible record, and the only place where anything is changed.
//!
//! 1. [`Shared::submit`] queues a command, bounded in bytes.
//! 2. The [sequencer](sequencer), one thread, checks it against the state and what is assigned ahead of it
//!    ([`ahead`], [`rules`]), assigns position, seq, ordinal and time, and encodes the records into a group.
//! 3. [`committer::commit`] appends the group to the log ([`durable`]) and syncs it, applies its records to the state,
//!    which makes them visible, answers the commands and wakes those concerned. A failure poisons the engine. Two
//!    threads do this while the sequencer makes the next group; where few commands wait, the sequencer does it itself.
//! 4. A [persister](persist), one thread, writes a frozen head to the store now and then.
//!
//! What a command needs from the disk (the target of an edit, the record of a repeat) the [loader](loader) reads
//! meanwhile; the command waits, and with it whatever must not overtake it.
//!
//! Locks: `Shared::state` is held by one group's apply, or by short reads; nothing that may touch the disk runs under
//! it. No other lock is taken while it is held for writing, except `Shared::soft` at a freeze.

pub(crate) mod ahead;
mod committer;
mod durable;
mod group;
mod keys;
mod loader;
mod pending;
mod persist;
mod planner;
mod rules;
mod sequencer;
mod shared;
#[cfg(test)]
mod tests;
mod threads;
mod time;
mod usage;

pub(crate) use persist::now as persist_now;
pub(crate) use planner::Pulls;
pub(crate) use rules::conversation_not_found;
pub(crate) use shared::Shared;
pub(crate) use threads::{Channels, Threads};
pub(crate) use usage::usage;
