//! The commit path: from a command to a visible record, and the only place where anything is changed.
//!
//! 1. [`Shared::submit`] queues a command, bounded in bytes.
//! 2. The [sequencer](sequencer), one thread, checks it against the state and what is assigned ahead of it
//!    ([`ahead`], [`rules`]), assigns position, seq, ordinal and time, and encodes the records into a group.
//! 3. The [writer](writer), one thread, appends the group to the log and syncs it. A failure poisons the engine.
//! 4. The [applier](applier), one thread, applies the durable records to the state, which makes them visible, answers
//!    the commands and wakes those concerned.
//! 5. A [persister](persist), one thread, writes a frozen head to the store now and then.
//!
//! What a command needs from the disk (the target of an edit, the record of a repeat) the [loader](loader) reads
//! meanwhile; the command waits, and with it whatever must not overtake it.
//!
//! Locks: `Shared::state` is held by one group's apply, or by short reads; nothing that may touch the disk runs under
//! it. No other lock is taken while it is held for writing, except `Shared::soft` at a freeze.

pub(crate) mod ahead;
mod applier;
mod group;
mod keys;
mod loader;
mod pending;
mod persist;
mod rules;
mod sequencer;
mod shared;
#[cfg(test)]
mod tests;
mod threads;
mod time;
mod usage;
mod writer;

pub(crate) use persist::now as persist_now;
pub(crate) use rules::conversation_not_found;
pub(crate) use shared::Shared;
pub(crate) use threads::{Channels, Threads};
pub(crate) use usage::usage;
