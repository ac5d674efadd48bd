//! The planner: which conversations would cost less if they were fanned out the other way.
//!
//! A record of a conversation with n members costs n appends to inboxes when it is fanned out on write, and a check by
//! every sync of a member when it is fanned out on read. With λ records a second, n members, H and h the cost of an
//! append and of a check, and μ syncs a second of each member, write is cheaper while λ·n·H ≤ h·Σμ. So both sums are kept
//! for each conversation, and what the present mode has cost more than the other one would have is its *regret*. A
//! conversation whose regret is above a bound changes: what a wrong mode costs is bounded, and so is how often it changes.
//!
//! It decides per conversation, never per pair of users, and never against a pin or the bounds of
//! [`FanoutThresholds`](crate::options::FanoutThresholds). What it knows is not stored: after an opening it begins anew.
//! Its decisions are stored, as records, so that replaying does not depend on it.

use crate::options::FanoutCosts;
use crate::state::{Conversation, State};
use crate::sync::RwLock;
use highwater_proto::id::{ConversationId, UserId};
use highwater_proto::record::Mode;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// Conversations with fewer members are not worth an account: they are fanned out on write.
const MEMBERS_MIN: usize = 64;
/// Records of a conversation after which its account is settled. Settling looks at every member once.
const RECORDS_PER_SETTLING: u64 = 64;
/// Most conversations with an account; then all are forgotten.
const ACCOUNTS_MAX: usize = 1 << 16;

/// How often each user has pulled its timelines since the store was opened, modulo 2^32.
#[derive(Default)]
pub(crate) struct Pulls {
    counts: RwLock<Vec<AtomicU32>>,
}

impl Pulls {
    /// A user has looked for what is new.
    pub(crate) fn note(&self, user: UserId) {
        let index = user.0 as usize;
        if let Some(count) = self.counts.read().get(index) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut counts = self.counts.write();
        if counts.len() <= index {
            let len = (index + 1).next_power_of_two();
            counts.resize_with(len, AtomicU32::default);
        }
        counts[index].fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, users: &[UserId]) -> u32 {
        let counts = self.counts.read();
        let count = |user: &UserId| counts.get(user.0 as usize).map_or(0, |count| count.load(Ordering::Relaxed));
        users.iter().fold(0, |sum, user| sum.wrapping_add(count(user)))
    }
}

/// What a conversation's mode costs.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Records since it was settled.
    records: u64,
    /// How many members there were when it was settled, and their pulls.
    members: usize,
    pulls: u32,
    /// What the mode has cost more than the other would have, in ns.
    regret_ns: u64,
}

/// Accounts of conversations.
pub(super) struct Planner {
    costs: Option<FanoutCosts>,
    accounts: FxHashMap<ConversationId, Account>,
}

impl Planner {
    pub(super) fn new(costs: Option<FanoutCosts>) -> Self {
        Self { costs, accounts: FxHashMap::default() }
    }

    /// Whether a conversation that will have so many members has an account that keeps it in its mode: thresholds alone
    /// do not decide then.
    pub(super) fn plans(&self, id: ConversationId, members: usize) -> bool {
        members >= MEMBERS_MIN && self.accounts.contains_key(&id)
    }

    /// A record is sequenced in a conversation that may change its mode. Returns the mode that it should change to.
    pub(super) fn note(
        &mut self,
        id: ConversationId,
        conversation: &Conversation,
        pulls: &Pulls,
        write_members_max: usize,
    ) -> Option<Mode> {
        let costs = self.costs?;
        let members = conversation.active.len();
        if members < MEMBERS_MIN || members > write_members_max {
            return None;
        }
        if self.accounts.len() >= ACCOUNTS_MAX {
            self.accounts.clear();
        }
        let new = || Account { members, pulls: pulls.sum(&conversation.active), ..Account::default() };
        let account = self.accounts.entry(id).or_insert_with(new);
        account.records += 1;
        if account.records < RECORDS_PER_SETTLING {
            return None;
        }
        let sum = pulls.sum(&conversation.active);
        if account.members != members {
            // Who came or went has shifted the sum by all of its pulls.
            (account.records, account.members, account.pulls) = (0, members, sum);
            return None;
        }
        let pulled = sum.wrapping_sub(account.pulls);
        let write_ns = account.records * members as u64 * costs.append_ns;
        let read_ns = u64::from(pulled) * costs.pull_check_ns;
        (account.records, account.pulls) = (0, sum);
        let (paid_ns, other_ns, other) = match conversation.mode {
            Mode::Write => (write_ns, read_ns, Mode::Read),
            Mode::Read => (read_ns, write_ns, Mode::Write),
        };
        account.regret_ns = (account.regret_ns + paid_ns).saturating_sub(other_ns);
        if account.regret_ns <= costs.regret_ns_max {
            return None;
        }
        account.regret_ns = 0;
        Some(other)
    }
}

/// Whether the dwell of a conversation's mode is over.
pub(super) fn has_dwelt(conversation: &Conversation, time_ms: u64, dwell_ms_min: u64) -> bool {
    time_ms.saturating_sub(conversation.mode_since_ms) >= dwell_ms_min
}

/// The conversation of an account, if its mode may change at all.
pub(super) fn plannable(state: &State, id: ConversationId) -> Option<&Conversation> {
    use highwater_proto::record::{Fanout, Kind};
    state.conversation(id).filter(|row| row.settings.fanout == Fanout::Auto && row.kind != Kind::Direct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::conversation;
    use highwater_proto::id::Position;

    const ID: ConversationId = ConversationId(7);
    const COSTS: FanoutCosts = FanoutCosts { append_ns: 10, pull_check_ns: 100, regret_ns_max: 1_000_000 };

    /// After how many records of a group of 100, with so many pulls of all members per record, it changes its mode.
    fn records_until_change(mode: Mode, pulls_per_record: u32) -> Option<(u64, Mode)> {
        let (mut planner, pulls) = (Planner::new(Some(COSTS)), Pulls::default());
        let mut group = conversation(Position::ZERO);
        group.active = (1..=100).map(UserId).collect();
        group.mode = mode;
        (1..=100_000_u64).find_map(|record| {
            (0..pulls_per_record).for_each(|pull| pulls.note(UserId(1 + (record as u32 + pull) % 100)));
            planner.note(ID, &group, &pulls, 1_000).map(|mode| (record, mode))
        })
    }

    #[test]
    fn what_costs_more_than_the_other_for_long_enough_changes() {
        // A record costs 1,000 ns on write; a pull 100 ns on read: ten pulls a record are worth the same.
        for (mode, pulls_per_record, expected) in [
            (Mode::Write, 0, Some((1_024, Mode::Read))),
            (Mode::Write, 5, Some((2_048, Mode::Read))),
            (Mode::Write, 10, None),
            (Mode::Write, 20, None),
            (Mode::Read, 0, None),
            (Mode::Read, 10, None),
            (Mode::Read, 20, Some((1_024, Mode::Write))),
        ] {
            let found = records_until_change(mode, pulls_per_record);
            assert_eq!(found, expected, "{mode:?}, {pulls_per_record} pulls a record");
        }
    }

    #[test]
    fn who_comes_brings_no_pulls_along() {
        let (mut planner, pulls) = (Planner::new(Some(COSTS)), Pulls::default());
        let mut group = conversation(Position::ZERO);
        group.active = (1..=100).map(UserId).collect();
        group.mode = Mode::Read;
        (0..100_000).for_each(|_| pulls.note(UserId(101)));
        assert!((0..10).all(|_| planner.note(ID, &group, &pulls, 1_000).is_none()));
        group.active.push(UserId(101));
        assert!((0..1_000).all(|_| planner.note(ID, &group, &pulls, 1_000).is_none()));
        group.active.truncate(10);
        assert!(planner.plans(ID, 101) && !planner.plans(ID, 10), "a few members are fanned out on write");
    }

    #[test]
    fn small_and_too_large_conversations_have_no_account() {
        let (mut planner, pulls) = (Planner::new(Some(COSTS)), Pulls::default());
        for (members, has) in [(63, false), (64, true), (1_000, true), (1_001, false)] {
            let id = ConversationId(members);
            let mut group = conversation(Position::ZERO);
            group.active = (1..=members).map(UserId).collect();
            planner.note(id, &group, &pulls, 1_000);
            assert_eq!(planner.plans(id, members as usize), has, "{members} members");
        }
        let mut off = Planner::new(None);
        let mut group = conversation(Position::ZERO);
        group.active = (1..=100).map(UserId).collect();
        assert!((0..10_000).all(|_| off.note(ID, &group, &pulls, 1_000).is_none()));
    }
}
