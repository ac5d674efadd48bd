//! A command on its way to a verdict.

use super::ahead::Known;
use super::keys::{self, Key};
use super::rules::Target;
use crate::command::{Command, Completion};
use highwater_proto::id::ConversationId;
use std::collections::HashSet;

/// A command on its way to a verdict. It is large, and handed on boxed.
pub(crate) struct Pending {
    /// Given by the sequencer, in the order in which commands came.
    pub(super) ticket: u64,
    pub(super) command: Command,
    pub(super) completion: Completion,
    /// Room that it takes in the queue.
    pub(super) bytes: usize,
    /// The conversation that a message goes to, where it was found ahead of time; it stays the same for ever.
    pub(super) destination: Option<ConversationId>,
    /// What it must not overtake others on; empty until somebody has to wait.
    keys: Vec<Key>,
    /// What it needs is being read from the disk.
    pub(super) loading: bool,
    pub(super) target: Option<Target>,
}

impl Pending {
    pub(super) fn new(command: Command, completion: Completion, bytes: usize) -> Box<Self> {
        Box::new(Self {
            ticket: 0,
            command,
            completion,
            bytes,
            destination: None,
            keys: Vec::new(),
            loading: false,
            target: None,
        })
    }

    /// Whether something waits that it must not overtake.
    pub(super) fn is_blocked(&mut self, known: Known<'_>, blocked: &HashSet<Key>) -> bool {
        self.loading || !blocked.is_empty() && self.keys(known).iter().any(|key| blocked.contains(key))
    }

    /// What it must not overtake others on. Only where somebody waits are keys needed.
    pub(super) fn keys(&mut self, known: Known<'_>) -> &[Key] {
        if self.keys.is_empty() {
            self.keys = keys::of(&self.command, known);
        }
        &self.keys
    }
}
