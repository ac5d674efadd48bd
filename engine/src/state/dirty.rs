//! Which rows differ from the store, and what they were when the head was frozen.
//!
//! A row bears a mark of the generation in which it last changed; a freeze begins the next one. While the rows of the
//! frozen generation are on their way to the store, whoever changes one of them first puts its old value aside: so what is
//! written is what the rows said at the freeze, and nobody has to stand still for it.

use super::{Conversation, Device, Member, Redaction};
use highwater_proto::id::{ConversationId, DeviceId, Position, UserId};
use rustc_hash::FxHashMap;
use std::fmt;

/// The generation in which a row last changed, or that it stands in the store as it is. It is no part of what the row
/// says: rows that say the same are equal, whatever their marks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Changed(u8);

/// As it stands in the store.
const STORED: u8 = 0;

impl PartialEq for Changed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Changed {}

impl fmt::Debug for Changed {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// What changed since the last freeze, each row once.
#[derive(Debug, Default)]
pub(crate) struct ChangedRows {
    pub(crate) conversations: Vec<ConversationId>,
    pub(crate) members: Vec<(ConversationId, UserId)>,
    pub(crate) devices: Vec<DeviceId>,
    /// Rows of `follows` that came into being; they never change.
    pub(crate) follows: Vec<(UserId, ConversationId)>,
    /// Messages that were edited or recalled. One may stand here more than once.
    pub(crate) redactions: Vec<Position>,
}

/// Values that rows had at the freeze, of those that changed again before they were encoded.
#[derive(Debug, Default)]
struct Aside {
    conversations: FxHashMap<ConversationId, Conversation>,
    members: FxHashMap<(ConversationId, UserId), Member>,
    devices: FxHashMap<DeviceId, Device>,
    redactions: FxHashMap<Position, Option<Redaction>>,
}

/// Rows that differ from the store.
#[derive(Debug)]
pub(crate) struct Dirty {
    /// 1 and 2 by turns: at most two are under way.
    generation: u8,
    rows: ChangedRows,
    /// Names given since the last freeze.
    names: usize,
    /// While rows of the generation before are being encoded.
    aside: Option<Aside>,
}

impl Default for Dirty {
    fn default() -> Self {
        Self { generation: 1, rows: ChangedRows::default(), names: 0, aside: None }
    }
}

/// What a row was before it is changed.
enum Was {
    Changed,
    Stored,
    Frozen,
}

impl Dirty {
    /// How many rows changed since the last freeze, about.
    pub(crate) fn len(&self) -> usize {
        let ChangedRows { conversations, members, devices, follows, redactions } = &self.rows;
        self.names + conversations.len() + members.len() + devices.len() + follows.len() + redactions.len()
    }

    /// A conversation's row is about to change.
    pub(crate) fn conversation(&mut self, id: ConversationId, row: &mut Conversation) {
        match self.mark(&mut row.changed) {
            Was::Changed => return,
            Was::Stored => {}
            Was::Frozen => self.put_aside(|aside| drop(aside.conversations.insert(id, row.without_members()))),
        }
        self.rows.conversations.push(id);
    }

    /// A member's row is about to change.
    pub(crate) fn member(&mut self, conversation: ConversationId, user: UserId, row: &mut Member) {
        match self.mark(&mut row.changed) {
            Was::Changed => return,
            Was::Stored => {}
            Was::Frozen => self.put_aside(|aside| drop(aside.members.insert((conversation, user), row.clone()))),
        }
        self.rows.members.push((conversation, user));
    }

    /// A device's row is about to change.
    pub(crate) fn device(&mut self, id: DeviceId, row: &mut Device) {
        match self.mark(&mut row.changed) {
            Was::Changed => return,
            Was::Stored => {}
            Was::Frozen => self.put_aside(|aside| drop(aside.devices.insert(id, row.clone()))),
        }
        self.rows.devices.push(id);
    }

    /// A message's redaction is about to change from this, if it had one. Those are few, and bear no mark.
    pub(crate) fn redaction(&mut self, target: Position, row: Option<&Redaction>) {
        self.put_aside(|aside| {
            aside.redactions.entry(target).or_insert_with(|| row.cloned());
        });
        self.rows.redactions.push(target);
    }

    /// A user, a device or a conversation was given its name. Names never change.
    pub(crate) fn name(&mut self) {
        self.names += 1;
    }

    /// A row of `follows` came into being.
    pub(crate) fn follows(&mut self, user: UserId, conversation: ConversationId) {
        self.rows.follows.push((user, conversation));
    }

    /// Begins the next generation. The rows of this one are to be encoded by the functions below, each once and each as
    /// it was at this moment; then [`Dirty::thaw`] is due.
    pub(crate) fn freeze(&mut self) -> ChangedRows {
        debug_assert!(self.aside.is_none(), "one freeze at a time");
        self.generation = 3 - self.generation;
        self.aside = Some(Aside::default());
        self.names = 0;
        std::mem::take(&mut self.rows)
    }

    /// All frozen rows have been encoded.
    pub(crate) fn thaw(&mut self) {
        debug_assert!(
            self.aside.as_ref().is_some_and(|aside| {
                aside.conversations.is_empty() && aside.members.is_empty() && aside.devices.is_empty()
            }),
            "every frozen row is asked for"
        );
        self.aside = None;
    }

    /// Gives a frozen conversation's row as it was at the freeze.
    pub(crate) fn frozen_conversation<T>(
        &mut self,
        id: ConversationId,
        row: &mut Conversation,
        encode: impl FnOnce(&Conversation) -> T,
    ) -> T {
        match self.aside.as_mut().and_then(|aside| aside.conversations.remove(&id)) {
            Some(old) => encode(&old),
            None => {
                row.changed = Changed(STORED);
                encode(row)
            }
        }
    }

    /// Gives a frozen member's row as it was at the freeze.
    pub(crate) fn frozen_member<T>(
        &mut self,
        (conversation, user): (ConversationId, UserId),
        row: &mut Member,
        encode: impl FnOnce(&Member) -> T,
    ) -> T {
        match self.aside.as_mut().and_then(|aside| aside.members.remove(&(conversation, user))) {
            Some(old) => encode(&old),
            None => {
                row.changed = Changed(STORED);
                encode(row)
            }
        }
    }

    /// Gives a frozen device's row as it was at the freeze.
    pub(crate) fn frozen_device<T>(&mut self, id: DeviceId, row: &mut Device, encode: impl FnOnce(&Device) -> T) -> T {
        match self.aside.as_mut().and_then(|aside| aside.devices.remove(&id)) {
            Some(old) => encode(&old),
            None => {
                row.changed = Changed(STORED);
                encode(row)
            }
        }
    }

    /// Gives a frozen redaction as it was at the freeze. `row` is what it is now.
    pub(crate) fn frozen_redaction<T>(
        &self,
        target: Position,
        row: Option<&Redaction>,
        encode: impl FnOnce(&Redaction) -> T,
    ) -> Option<T> {
        match self.aside.as_ref().and_then(|aside| aside.redactions.get(&target)) {
            Some(old) => old.as_ref().map(encode),
            None => row.map(encode),
        }
    }

    fn mark(&self, changed: &mut Changed) -> Was {
        let was = match changed.0 {
            generation if generation == self.generation => Was::Changed,
            STORED => Was::Stored,
            _ => Was::Frozen,
        };
        changed.0 = self.generation;
        was
    }

    fn put_aside(&mut self, put: impl FnOnce(&mut Aside)) {
        if let Some(aside) = &mut self.aside {
            put(aside);
        }
    }
}
