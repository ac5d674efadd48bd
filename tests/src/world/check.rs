//! What must hold at any time: every read gives what the model says.

use super::{Check, Reader, World, failed};
use crate::model::{self, Name, State};
use crate::plan::{self, From, Limits};
use highwater_engine::command::Caller;
use highwater_engine::entry::{Entry, HistoryRange, MemberView};
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::id::Seq;
use proptest::prelude::*;

/// Everything, in one page.
const WHOLE: Limits = Limits { records: 0, bytes: 0, cap: 0, pages: 0 };

impl World {
    /// A fresh sync, the list of conversations and the unread counts of one user.
    pub fn check_user(&mut self, user: &Name) -> Check {
        self.sync_reader(user, &mut Reader::default(), From::Beginning, WHOLE)?;
        let state = self.model.state();
        self.check_conversations(&state, user, 0)
    }

    /// Every user, every conversation, every device.
    pub fn check_everything(&mut self) -> Check {
        let state = self.model.state();
        for user in state.users.clone() {
            self.check_user(&user)?;
            self.check_devices(&state, &user)?;
            for number in 0..plan::READERS as u8 {
                self.sync(&user, number, From::Checkpoint, WHOLE)?;
                self.check_replica(&state, &user, &self.readers[&(user.clone(), number)])?;
            }
            for name in state.conversations.keys() {
                self.check_history(&state, &user, name, HistoryRange::After(Seq(0)), 0)?;
                self.check_members(&state, Some(&user), name, 0)?;
            }
        }
        for name in state.conversations.keys() {
            self.check_members(&state, None, name, 0)?;
        }
        for (name, conversation) in &state.conversations {
            let seqs = conversation.outbox.iter().map(|position| self.model.record(*position).seq);
            prop_assert!(seqs.eq(1..=conversation.head()), "the seqs of {:?} are contiguous", name);
        }
        Ok(())
    }

    pub(super) fn check_conversations(&self, state: &State, user: &str, limit: usize) -> Check {
        let mut told = Vec::new();
        let mut before = None;
        loop {
            let page = self.engine().conversations(user, before, limit);
            check_in_memory(self.engine().try_conversations(user, before, limit), &page)?;
            if !state.is_user(user) {
                prop_assert_eq!(page.map_err(|error| error.code).err(), Some(Code::NotFound));
                return Ok(());
            }
            let page = page.map_err(|error| failed("conversations", &error))?;
            prop_assert_eq!(page.unread_total, state.unread_total(&self.model, user), "unread in all of {}", user);
            prop_assert!(limit == 0 || page.conversations.len() <= limit);
            told.extend(page.conversations);
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let mut names = state.conversations_of(user);
        names.sort_by_key(|name| std::cmp::Reverse(state.recency(user, name)));
        let expected: Vec<_> = names.iter().map(|name| state.view(&self.model, user, name)).collect();
        prop_assert_eq!(told, expected, "conversations of {}", user);
        Ok(())
    }

    pub(super) fn check_history(
        &self,
        state: &State,
        user: &str,
        name: &str,
        range: HistoryRange,
        limit: usize,
    ) -> Check {
        let page = self.engine().history(user, name, range, limit);
        check_in_memory(self.engine().try_history(user, name, range, limit), &page)?;
        let is_visible = state.conversation(name).is_some_and(|conversation| conversation.members.contains_key(user));
        if !is_visible {
            prop_assert_eq!(page.map_err(|error| error.code).err(), Some(Code::NotFound), "{} reads {:?}", user, name);
            return Ok(());
        }
        let whole = state.history(&self.model, user, name);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let (forward, wanted): (bool, Vec<Entry>) = match range {
            HistoryRange::Newest => (false, whole),
            HistoryRange::Before(seq) => (false, whole.into_iter().filter(|entry| entry.seq < seq).collect()),
            HistoryRange::After(seq) => (true, whole.into_iter().filter(|entry| entry.seq > seq).collect()),
        };
        let skipped = if forward { 0 } else { wanted.len().saturating_sub(limit) };
        let wanted: Vec<Entry> = wanted.into_iter().skip(skipped).take(limit).collect();
        let page = page.map_err(|error| failed("history", &error))?;
        prop_assert_eq!(page, wanted, "history of {:?} for {} by {:?}", name, user, range);
        Ok(())
    }

    /// `None` is the service.
    pub(super) fn check_members(&self, state: &State, user: Option<&Name>, name: &str, limit: usize) -> Check {
        let caller = user.map_or(Caller::Service, |user| Caller::User(user.clone()));
        let row = state.conversation(name);
        let refusal = match (row, user) {
            (None, _) => Some(Code::NotFound),
            (Some(_), None) => None,
            (Some(row), Some(user)) => match row.members.get(user) {
                None => Some(Code::NotFound),
                Some(member) => member.role.is_none().then_some(Code::NotAllowed),
            },
        };
        let mut told: Vec<MemberView> = Vec::new();
        let mut after = None;
        loop {
            let page = self.engine().members(&caller, name, after, limit);
            if let Some(code) = refusal {
                prop_assert_eq!(
                    page.map_err(|error| error.code).err(),
                    Some(code),
                    "members of {:?} for {:?}",
                    name,
                    user
                );
                return Ok(());
            }
            let page = page.map_err(|error| failed("members", &error))?;
            let (_, count) = state.members(user.map(AsRef::as_ref), name);
            prop_assert_eq!(page.count, count);
            told.extend(page.members);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        told.sort_by(|a, b| a.user.cmp(&b.user));
        let (expected, _) = state.members(user.map(AsRef::as_ref), name);
        prop_assert_eq!(told, expected, "members of {:?} for {:?}", name, user);
        Ok(())
    }

    pub(super) fn check_devices(&self, state: &State, user: &str) -> Check {
        let devices = self.engine().devices(user);
        if !state.is_user(user) {
            prop_assert_eq!(devices.map_err(|error| error.code).err(), Some(Code::NotFound));
            return Ok(());
        }
        let mut devices = devices.map_err(|error| failed("devices", &error))?;
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        for device in &mut devices {
            // When a device was seen and what it acknowledged is soft.
            device.last_seen_ms = 0;
            device.position = highwater_engine::proto::id::Position::ZERO;
        }
        prop_assert_eq!(devices, state.devices_of(user), "devices of {}", user);
        Ok(())
    }

    /// A history read with numbers from a plan.
    pub(super) fn check_some_history(&self, user: &str, name: &str, range: u8, seq: u64, limit: u8) -> Check {
        let range = match range {
            0 => HistoryRange::Newest,
            1 => HistoryRange::Before(model::seq(seq)),
            _ => HistoryRange::After(model::seq(seq)),
        };
        self.check_history(&self.model.state(), user, name, range, limit.into())
    }
}

/// Whether a read that was confined to memory has answered; if so, then as the same read did with the disk.
pub(super) fn check_in_memory<T: std::fmt::Debug + PartialEq>(
    in_memory: Result<Option<T>, Error>,
    page: &Result<T, Error>,
) -> Check<bool> {
    let in_memory = in_memory.transpose();
    if let Some(in_memory) = &in_memory {
        prop_assert_eq!(in_memory, page, "read in memory and with the disk");
    }
    Ok(in_memory.is_some())
}
