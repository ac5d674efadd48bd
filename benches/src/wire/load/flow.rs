//! A group's messages on their way: how many members have each, and whether there is room for more.
//!
//! Receipts alone would let a sender run away from slow receivers, whose deltas would then grow larger and cheaper the
//! further they fall behind. So the next message waits until all members have the one a window before it.

use super::super::{Fallible, lean};
use highwater_proto::wire::kind;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The messages of one group that not all members have.
pub(super) struct Flow {
    members: usize,
    state: RefCell<State>,
    room: Notify,
}

#[derive(Default)]
struct State {
    /// The number of the oldest message that is on its way.
    first: u64,
    /// When it and those after it were written, and how many members have them.
    under_way: VecDeque<(Instant, usize)>,
}

impl Flow {
    pub(super) fn new(members: usize) -> Self {
        Self { members, state: RefCell::default(), room: Notify::new() }
    }

    /// How many messages are on their way.
    pub(super) fn under_way(&self) -> usize {
        self.state.borrow().under_way.len()
    }

    /// Waits until a message arrived at its last member.
    pub(super) async fn arrived(&self) {
        self.room.notified().await;
    }

    /// The number of a message that is written now.
    pub(super) fn next(&self, now: Instant) -> u64 {
        let mut state = self.state.borrow_mut();
        state.under_way.push_back((now, 0));
        state.first + state.under_way.len() as u64 - 1
    }

    /// A member has message `number`: how long it took.
    fn received(&self, number: u64, now: Instant) -> Fallible<Duration> {
        let state = &mut *self.state.borrow_mut();
        let index = number.wrapping_sub(state.first) as usize;
        let (written, members) =
            state.under_way.get_mut(index).ok_or_else(|| format!("message {number} is not on its way"))?;
        *members += 1;
        let took = now - *written;
        while state.under_way.front().is_some_and(|(_, members)| *members == self.members) {
            state.under_way.pop_front();
            state.first += 1;
            self.room.notify_one();
        }
        Ok(took)
    }
}

/// What one device has received: everything once and in order, or it is an error.
#[derive(Default)]
pub(super) struct Received {
    next: u64,
    to: u64,
    position: u64,
}

impl Received {
    /// The device's first delta was this one.
    pub(super) fn starting_with(delta: &lean::Delta) -> Self {
        Self { next: 0, to: delta.to, position: 0 }
    }

    /// Takes a delta, telling of each message how long it took.
    pub(super) fn take(
        &mut self,
        delta: &lean::Delta,
        flow: &Flow,
        now: Instant,
        mut took: impl FnMut(Duration),
    ) -> Fallible<()> {
        if delta.from != self.to || delta.to < delta.from {
            return Err(format!("a delta covers ({}, {}] after {}", delta.from, delta.to, self.to).into());
        }
        self.to = delta.to;
        for record in delta.records.iter().filter(|record| record.kind == kind::MESSAGE) {
            let number = record.body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            if number != Some(self.next) || record.position <= self.position {
                let (expected, position) = (self.next, record.position);
                return Err(format!("message {number:?} at {position} came in place of message {expected}").into());
            }
            self.next += 1;
            self.position = record.position;
            took(flow.received(record.body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)), now)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(from: u64, to: u64, numbers: &[u64]) -> lean::Delta {
        let record = |number: &u64| lean::Record {
            position: 100 + number,
            kind: kind::MESSAGE,
            body: number.to_le_bytes().to_vec().into(),
        };
        lean::Delta { from, to, records: numbers.iter().map(record).collect(), ..Default::default() }
    }

    #[test]
    fn a_message_is_on_its_way_until_all_members_have_it() {
        let (flow, now) = (Flow::new(2), Instant::now());
        assert_eq!((flow.next(now), flow.next(now), flow.under_way()), (0, 1, 2));
        let mut devices = [Received::default(), Received::default()];
        devices[0].take(&delta(0, 5, &[0, 1]), &flow, now, |_| {}).expect("in order");
        assert_eq!(flow.under_way(), 2);
        devices[1].take(&delta(0, 3, &[0]), &flow, now, |_| {}).expect("in order");
        assert_eq!(flow.under_way(), 1);
        devices[1].take(&delta(3, 5, &[1]), &flow, now, |_| {}).expect("in order");
        assert_eq!((flow.under_way(), flow.next(now)), (0, 2));
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_found() {
        let (flow, now) = (Flow::new(1), Instant::now());
        (0..4).for_each(|_| _ = flow.next(now));
        for (from, to, numbers) in
            [(0, 5, &[1][..]), (0, 5, &[0, 0]), (0, 5, &[0, 2]), (1, 5, &[0]), (0, 5, &[0, 1, 2, 3, 4])]
        {
            let taken = Received::default().take(&delta(from, to, numbers), &Flow::new(9), now, |_| {});
            assert!(taken.is_err(), "({from}, {to}] with {numbers:?}");
        }
        let taken = Received::default().take(&delta(0, 5, &[0, 1, 2, 3]), &flow, now, |_| {});
        assert!(taken.is_ok(), "{taken:?}");
    }
}
