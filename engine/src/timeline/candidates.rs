//! Which positions a page has to look at: the user's inbox, merged with the outboxes of the conversations that it
//! follows, in ascending order, each position once.
//!
//! The merge keeps the lowest `limit` positions only, whatever the number of sources: once it is full, its highest
//! position bounds what the next source is asked for. So a page's work depends on its limit, not on how much was missed.
//! A followed conversation with nothing new costs the comparison of one position.

use super::View;
use crate::reach::Halt;
use crate::state::{Conversation, Head, Member, State};
use crate::store::Outboxes;
use highwater_proto::id::{ConversationId, Position, UserId};
use std::ops::Bound;

/// Followed conversations looked at under one lock.
const FOLLOWS_PER_LOCK: usize = 512;

/// The lowest positions in `(after, bound]` of everything offered.
#[derive(Debug)]
struct Lowest {
    /// In no order, some of them twice, until [`Lowest::settle`].
    positions: Vec<Position>,
    after: Position,
    /// Positions above this are not needed.
    bound: Position,
    limit: usize,
    /// Settle when there are so many.
    settle_at: usize,
}

/// A stretch of a followed outbox: positions in `(after, through]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pull {
    conversation: ConversationId,
    after: Position,
    through: Position,
}

/// The positions that a page looks at.
#[derive(Debug)]
pub(super) struct Candidates {
    /// Ascending.
    pub(super) positions: Vec<Position>,
    /// There are no others up to the bound that was asked for.
    pub(super) is_exhausted: bool,
}

/// The lowest `limit` positions in `(after, through]` that may concern the user; `through` is visible.
pub(super) fn gather(
    view: &View<'_>,
    user: UserId,
    after: Position,
    through: Position,
    limit: usize,
) -> Result<Candidates, Halt> {
    let mut lowest = Lowest::new(after, through, limit);
    if after < through {
        let mut next = gather_inbox(view, user, &mut lowest)?;
        while let Some(first) = next {
            next = gather_follows(view, user, first, &mut lowest)?;
        }
    }
    lowest.settle();
    let is_exhausted = lowest.positions.len() < limit;
    Ok(Candidates { positions: lowest.positions, is_exhausted })
}

/// The user's inbox; returns the first conversation that it follows.
fn gather_inbox(view: &View<'_>, user: UserId, lowest: &mut Lowest) -> Result<Option<ConversationId>, Halt> {
    let (first_follow, frozen, persisted) = {
        let state = view.state.read();
        lowest.offer_inbox(&state.head, user);
        let first_follow = state.user(user).and_then(|row| row.follows.first()).copied();
        (first_follow, state.frozen.clone(), state.persisted)
    };
    if let Some(frozen) = frozen {
        lowest.offer_inbox(&frozen, user);
    }
    let through = lowest.bound.min(persisted);
    if lowest.after < through {
        lowest.offer(view.store.inbox_after(user, lowest.after, through, lowest.limit, view.reach)?);
    }
    Ok(first_follow)
}

/// Some of the followed conversations, from `first` on; returns where to go on.
fn gather_follows(
    view: &View<'_>,
    user: UserId,
    first: ConversationId,
    lowest: &mut Lowest,
) -> Result<Option<ConversationId>, Halt> {
    let (pulls, next, frozen, persisted) = {
        let state = view.state.read();
        let (pulls, next) = pulls(&state, user, first, lowest);
        for pull in &pulls {
            lowest.offer_outbox(&state.head, pull);
        }
        (pulls, next, state.frozen.clone(), state.persisted)
    };
    let mut outboxes: Option<Outboxes<'_>> = None;
    for pull in pulls {
        if let Some(frozen) = &frozen {
            lowest.offer_outbox(frozen, &pull);
        }
        let through = pull.through.min(lowest.bound).min(persisted);
        if pull.after < through {
            let outboxes = outboxes.get_or_insert_with(|| view.store.outboxes(view.reach));
            let stored = outboxes.after(pull.conversation, pull.after, through, lowest.limit)?;
            lowest.offer(stored.into_iter().map(|(_, entry)| entry.position));
        }
    }
    Ok(next)
}

fn pulls(state: &State, user: UserId, first: ConversationId, lowest: &Lowest) -> (Vec<Pull>, Option<ConversationId>) {
    let Some(row) = state.user(user) else { return (Vec::new(), None) };
    let mut follows = row.follows.range((Bound::Included(first), Bound::Unbounded));
    let mut pulls = Vec::new();
    for id in follows.by_ref().take(FOLLOWS_PER_LOCK) {
        // Most have nothing new, which shows without a look at the member.
        let changed = state.conversation(*id).filter(|conversation| conversation.last_read_mode > lowest.after);
        let Some(conversation) = changed else { continue };
        let Some(member) = conversation.members.get(&user) else { continue };
        let stretches = stretches(conversation, member, lowest.after, lowest.bound);
        pulls.extend(stretches.map(|(after, through)| Pull { conversation: *id, after, through }));
    }
    (pulls, follows.next().copied())
}

/// The parts of `(after, through]` in which the outbox may hold what the inbox does not: inside the member's
/// intervals, and up to the last record in read mode.
fn stretches<'a>(
    conversation: &Conversation,
    member: &'a Member,
    after: Position,
    through: Position,
) -> impl Iterator<Item = (Position, Position)> + use<'a> {
    let through = through.min(conversation.last_read_mode);
    member
        .intervals
        .iter()
        .map(move |interval| {
            let before_first = Position(interval.joined.position.0.saturating_sub(1));
            let last = interval.left.map_or(through, |left| left.position.min(through));
            (after.max(before_first), last)
        })
        .filter(|(after, last)| after < last)
}

impl Lowest {
    fn new(after: Position, through: Position, limit: usize) -> Self {
        Self { positions: Vec::new(), after, bound: through, limit, settle_at: limit }
    }

    /// Takes ascending positions into account.
    fn offer(&mut self, positions: impl IntoIterator<Item = Position>) {
        let (after, bound) = (self.after, self.bound);
        let wanted = positions.into_iter().skip_while(|position| *position <= after);
        // No more than the limit can be among the lowest.
        self.positions.extend(wanted.take_while(|position| *position <= bound).take(self.limit));
        if self.positions.len() >= self.settle_at {
            self.settle();
        }
    }

    fn offer_inbox(&mut self, head: &Head, user: UserId) {
        self.offer(head.inbox(user, self.after, self.bound));
    }

    fn offer_outbox(&mut self, head: &Head, pull: &Pull) {
        let Some(outbox) = head.outbox(pull.conversation) else { return };
        let entries = outbox.range(pull.after, pull.through.min(self.bound));
        self.offer(entries.map(|entry| entry.position));
    }

    /// Sorts the positions and drops doubles and what is above the lowest.
    fn settle(&mut self) {
        self.positions.sort_unstable();
        self.positions.dedup();
        self.positions.truncate(self.limit);
        if let Some(last) = self.positions.last().filter(|_| self.positions.len() == self.limit) {
            self.bound = *last;
        }
        // So that sorting costs the same for each position that is offered, however many sources there are.
        self.settle_at = self.positions.len() + self.limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Interval, Mark};

    fn positions(numbers: &[u64]) -> Vec<Position> {
        numbers.iter().copied().map(Position).collect()
    }

    #[test]
    fn the_lowest_of_all_sources_are_kept_each_once() {
        for (sources, after, through, limit, expected) in [
            (vec![vec![1, 3, 5], vec![2, 3, 4]], 0, 10, 10, vec![1, 2, 3, 4, 5]),
            (vec![vec![1, 3, 5], vec![2, 3, 4]], 0, 10, 3, vec![1, 2, 3]),
            (vec![vec![7, 8, 9], vec![1, 2, 3]], 0, 10, 2, vec![1, 2]),
            (vec![vec![7, 8, 9], vec![1, 2, 3]], 2, 8, 5, vec![3, 7, 8]),
            (vec![vec![7], vec![7], vec![7]], 0, 10, 2, vec![7]),
            (vec![vec![5, 6], vec![4, 6], vec![1, 9]], 0, 6, 3, vec![1, 4, 5]),
            (vec![], 0, 6, 3, vec![]),
        ] {
            let (after, through) = (Position(after), Position(through));
            let mut lowest = Lowest::new(after, through, limit);
            for source in &sources {
                lowest.offer(positions(source));
            }
            lowest.settle();
            assert_eq!(lowest.positions, positions(&expected), "{sources:?} in ({after}, {through}] limit {limit}");
        }
    }

    #[test]
    fn outboxes_are_pulled_inside_the_intervals_and_up_to_the_last_record_in_read_mode() {
        let mark = |position| Mark { position: Position(position), ..Mark::default() };
        for (intervals, last_read_mode, after, through, expected) in [
            (vec![(1, None)], 100, 0, 50, vec![(0, 50)]),
            (vec![(1, None)], 30, 0, 50, vec![(0, 30)]),
            (vec![(1, None)], 30, 30, 50, vec![]),
            (vec![(1, Some(10))], 30, 5, 50, vec![(5, 10)]),
            (vec![(1, Some(10))], 30, 10, 50, vec![]),
            (vec![(1, Some(10)), (20, None)], 40, 0, 50, vec![(0, 10), (19, 40)]),
            (vec![(1, Some(10)), (20, None)], 40, 15, 50, vec![(19, 40)]),
            (vec![(1, Some(10)), (20, Some(30))], 40, 25, 50, vec![(25, 30)]),
            (vec![(20, None)], 40, 0, 19, vec![]),
            (vec![(20, None)], 40, 0, 20, vec![(19, 20)]),
        ] {
            let member = Member {
                intervals: intervals
                    .iter()
                    .map(|(joined, left)| Interval { joined: mark(*joined), left: left.map(mark) })
                    .collect(),
                ..Member::default()
            };
            let conversation = crate::timeline::tests::conversation(Position(last_read_mode));
            let found: Vec<(u64, u64)> = stretches(&conversation, &member, Position(after), Position(through))
                .map(|(after, through)| (after.0, through.0))
                .collect();
            assert_eq!(found, expected, "{intervals:?} up to {last_read_mode} in ({after}, {through}]");
        }
    }
}
