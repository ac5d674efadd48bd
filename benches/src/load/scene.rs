//! Who sends to whom: the same messages for everything that a load is given to.

use crate::workload::{Direct, Random, members};
use std::sync::Arc;

/// Who sends to whom.
#[derive(Clone, Debug)]
pub enum Scene {
    /// Direct messages.
    Direct(Direct, usize),
    /// Groups, one after the other by chance; a few members of each send.
    Groups(Arc<Groups>, Random),
}

/// Groups of one size.
#[derive(Debug)]
pub struct Groups {
    users: usize,
    pub(super) members: Vec<Arc<[u32]>>,
}

/// The next message: who sends it, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) author: usize,
    pub(super) to: To,
}

/// Where a message goes: a user, or a group by number.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    User(usize),
    Group(usize),
}

/// Members of a group that send.
const SENDERS: usize = 4;

impl Scene {
    /// Direct messages among so many users, a power of two.
    pub fn direct(users: usize, seed: u64) -> Self {
        Scene::Direct(Direct::among(users, seed), users)
    }

    /// So many groups of a size among so many users.
    pub fn groups(count: usize, size: usize, users: usize, seed: u64) -> Self {
        let all = |group| members(group, size, users).into_iter().map(|user| user as u32).collect();
        Scene::Groups(Arc::new(Groups { users, members: (0..count).map(all).collect() }), Random::new(seed))
    }

    pub(super) fn users(&self) -> usize {
        match self {
            Scene::Direct(_, users) => *users,
            Scene::Groups(groups, _) => groups.users,
        }
    }

    pub(super) fn senders(&self) -> Vec<usize> {
        match self {
            Scene::Direct(_, users) => (0..*users).collect(),
            Scene::Groups(groups, _) => {
                let some = groups.members.iter().flat_map(|members| members.iter().take(SENDERS));
                let mut some: Vec<usize> = some.map(|user| *user as usize).collect();
                some.sort_unstable();
                some.dedup();
                some
            }
        }
    }

    pub(super) fn next(&mut self) -> Next {
        match self {
            Scene::Direct(direct, _) => {
                let (author, receiver) = direct.next_pair();
                Next { author, to: To::User(receiver) }
            }
            Scene::Groups(groups, random) => {
                let group = random.below(groups.members.len());
                let members = &groups.members[group];
                let author = members[random.below(members.len().min(SENDERS))] as usize;
                Next { author, to: To::Group(group) }
            }
        }
    }

    /// Inbox entries that a message makes where it is fanned out on write.
    pub fn entries_per_send(&self) -> usize {
        match self {
            Scene::Direct(..) => 2,
            Scene::Groups(groups, _) => groups.members.first().map_or(0, |members| members.len()),
        }
    }
}
