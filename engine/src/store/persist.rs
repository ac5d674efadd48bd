//! Writing: everything that changed since the last persist, in one batch that becomes durable as a whole.

use super::family::Family;
use super::names::Named;
use super::{SoftDevice, Store};
use super::{acknowledged, conversations, devices, follows, inbox, members, memberships, meta, names, outbox};
use super::{recalled, redactions};
use crate::state::{ChangedRows, Head, State};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Incarnation, UserId};
use rocksdb::{FlushOptions, WriteBatch, WriteOptions};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often the flush of a batch is tried before the persist has failed.
const FLUSH_ATTEMPTS: u32 = 4;
/// RocksDB recovers from some failures by itself; it is given this time, and each time more, before it is asked again.
const FLUSH_PAUSE: Duration = Duration::from_millis(50);

/// The rows that differ from the index, encoded; made by [`Store::rows`] for [`Store::persist`].
pub(crate) struct Rows {
    batch: WriteBatch,
    names: NameCounts,
}

/// How many ids of each kind have a name: ids are dense, names never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NameCounts {
    users: u32,
    devices: u32,
    conversations: u32,
}

/// The names that stand in the index already.
#[derive(Debug, Default)]
pub(super) struct NamesStored {
    users: AtomicU32,
    devices: AtomicU32,
    conversations: AtomicU32,
}

impl NamesStored {
    fn counts(&self) -> NameCounts {
        NameCounts {
            users: self.users.load(Ordering::Acquire),
            devices: self.devices.load(Ordering::Acquire),
            conversations: self.conversations.load(Ordering::Acquire),
        }
    }

    fn set(&self, counts: NameCounts) {
        self.users.store(counts.users, Ordering::Release);
        self.devices.store(counts.devices, Ordering::Release);
        self.conversations.store(counts.conversations, Ordering::Release);
    }

    /// All names of this state stand in the index.
    pub(super) fn set_all_of(&self, state: &State) {
        self.set(NameCounts::of(state));
    }
}

impl NameCounts {
    fn of(state: &State) -> Self {
        // Ids are 32 bits wide: no list is longer.
        Self {
            users: state.users.len() as u32,
            devices: state.devices.len() as u32,
            conversations: state.names.conversation_names.len() as u32,
        }
    }
}

impl Store {
    /// Begins a history in an empty index, durably.
    pub(crate) fn initialize(&self, incarnation: Incarnation) -> Result<(), Error> {
        if self.format()?.is_some() {
            let message = format!("the index {} has a history already", self.path.display());
            return Err(Error::new(Code::Unusable, message));
        }
        let mut batch = WriteBatch::default();
        let meta = self.handle(Family::Meta);
        batch.put_cf(meta, meta::FORMAT_KEY, meta::format_value());
        batch.put_cf(meta, meta::INCARNATION_KEY, incarnation.0);
        batch.put_cf(meta, meta::APPLIED_KEY, meta::applied_value(&(&State::new(incarnation)).into()));
        self.write(batch)
    }

    /// Encodes the rows that were frozen, and soft state that changed; takes no lock and does no I/O.
    ///
    /// Rows belong to the head that was frozen in the same moment. One set of rows at a time: the next one is made when
    /// this one is persisted.
    pub(crate) fn rows(&self, state: &mut State, frozen: ChangedRows, soft: &[(DeviceId, SoftDevice)]) -> Rows {
        let ChangedRows { mut conversations, members, devices, mut follows, mut redactions } = frozen;
        let mut batch = WriteBatch::default();
        conversations.sort_unstable();
        self.put_conversations(state, &conversations, &mut batch);
        self.put_members(state, members, &mut batch);
        follows.sort_unstable();
        for (user, conversation) in follows {
            let key = follows::key(user, conversation);
            match state.user(user).is_some_and(|row| row.follows.contains(&conversation)) {
                true => batch.put_cf(self.handle(Family::Follows), key, follows::VALUE),
                false => batch.delete_cf(self.handle(Family::Follows), key),
            }
        }
        self.put_devices(state, &devices, soft, &mut batch);
        redactions.sort_unstable();
        redactions.dedup();
        for target in redactions {
            let value = state.dirty.frozen_redaction(target, state.redactions.get(&target), redactions::value);
            if let Some(value) = value {
                batch.put_cf(self.handle(Family::Redactions), redactions::key(target), value);
            }
        }
        state.dirty.thaw();
        self.put_names(state, &mut batch);
        batch.put_cf(self.handle(Family::Meta), meta::APPLIED_KEY, meta::applied_value(&(&*state).into()));
        Rows { batch, names: NameCounts::of(state) }
    }

    /// Writes rows and the head that was frozen with them, and returns when they are durable.
    ///
    /// After an error the index on disk is as it was, but this store is not to be used any more.
    pub(crate) fn persist(&self, rows: Rows, head: &Head) -> Result<(), Error> {
        let Rows { mut batch, names } = rows;
        head.each_inbox(|user, positions| {
            for (key, value) in inbox::rows(user, positions) {
                batch.put_cf(self.handle(Family::Inbox), key, value);
            }
        });
        head.each_outbox(|conversation, first, entries| {
            for (key, value) in outbox::rows(conversation, first, entries) {
                batch.put_cf(self.handle(Family::Outbox), key, value);
            }
        });
        self.write(batch)?;
        self.names_stored.set(names);
        Ok(())
    }

    fn put_conversations(&self, state: &mut State, frozen: &[ConversationId], batch: &mut WriteBatch) {
        for id in frozen {
            let row = state.conversations.get_mut((id.0 as usize).wrapping_sub(1)).and_then(Option::as_mut);
            let row = row.expect("a conversation that changed exists");
            let (value, recalled) = state.dirty.frozen_conversation(*id, row, |row| {
                let recalled = (!row.recalled.is_empty()).then(|| recalled::value(&row.recalled));
                (conversations::value(row), recalled)
            });
            batch.put_cf(self.handle(Family::Conversations), conversations::key(*id), value);
            if let Some(recalled) = recalled {
                batch.put_cf(self.handle(Family::Recalled), recalled::key(*id), recalled);
            }
        }
    }

    fn put_members(&self, state: &mut State, mut frozen: Vec<(ConversationId, UserId)>, batch: &mut WriteBatch) {
        frozen.sort_unstable();
        let mut memberships = Vec::with_capacity(frozen.len());
        for (conversation, user) in frozen {
            let row = state.conversations.get_mut((conversation.0 as usize).wrapping_sub(1)).and_then(Option::as_mut);
            let row = row.and_then(|row| row.members.get_mut(&user)).expect("a member that changed has a row");
            let (member, membership) = state
                .dirty
                .frozen_member((conversation, user), row, |row| (members::value(row), memberships::value(row)));
            batch.put_cf(self.handle(Family::Members), members::key(conversation, user), member);
            memberships.push((memberships::key(user, conversation), membership));
        }
        memberships.sort_unstable();
        for (key, value) in memberships {
            batch.put_cf(self.handle(Family::Memberships), key, value);
        }
    }

    fn put_devices(
        &self,
        state: &mut State,
        frozen: &[DeviceId],
        soft: &[(DeviceId, SoftDevice)],
        batch: &mut WriteBatch,
    ) {
        let mut rows = Vec::with_capacity(frozen.len());
        for id in frozen {
            let row = state.devices.get_mut((id.0 as usize).wrapping_sub(1)).expect("a device that changed exists");
            let user = row.user;
            let value = state.dirty.frozen_device(*id, row, devices::value);
            rows.push((devices::key(user, *id), value));
        }
        rows.sort_unstable();
        for (key, value) in rows {
            batch.put_cf(self.handle(Family::Devices), key, value);
        }
        let mut soft: Vec<_> = soft.iter().filter(|(id, _)| state.device(*id).is_some()).collect();
        soft.sort_unstable_by_key(|(id, _)| *id);
        for (id, soft) in soft {
            batch.put_cf(self.handle(Family::Acknowledged), acknowledged::key(*id), acknowledged::value(soft));
        }
    }

    /// Names given since the last persist: the ids above those stored.
    fn put_names(&self, state: &State, batch: &mut WriteBatch) {
        let stored = self.names_stored.counts();
        let users = state.users.iter().map(|user| &user.name);
        let devices = state.devices.iter().map(|device| &device.name);
        let conversations = state.names.conversation_names.iter();
        let family = self.handle(Family::Names);
        for (id, name) in (1..).zip(users).skip(stored.users as usize) {
            batch.put_cf(family, names::key(Named::User, id), name.as_bytes());
        }
        for (id, name) in (1..).zip(devices).skip(stored.devices as usize) {
            batch.put_cf(family, names::key(Named::Device, id), name.as_bytes());
        }
        for (id, name) in (1..).zip(conversations).skip(stored.conversations as usize) {
            batch.put_cf(family, names::key(Named::Conversation, id), name.as_bytes());
        }
    }

    /// Writes a batch and flushes all families in one atomic step.
    ///
    /// Only the flush is tried again: it is the same memtables that are flushed then, and nothing is built anew.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|error| self.error(&error))?;
        let families = Family::ALL.map(|family| self.handle(family));
        let families: Vec<_> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let mut attempt = 1;
        loop {
            match self.db.flush_cfs_opt(&families, &options) {
                Ok(()) => return Ok(()),
                Err(error) if attempt == FLUSH_ATTEMPTS => return Err(self.error(&error)),
                Err(error) => tracing::warn!(attempt, %error, "flushing the index failed and is tried again"),
            }
            std::thread::sleep(FLUSH_PAUSE * attempt);
            attempt += 1;
        }
    }
}
