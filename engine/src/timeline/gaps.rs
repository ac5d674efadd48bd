//! The cap per conversation: of each, only the newest messages are delivered, and the older ones collapse into gaps.
//!
//! Which messages are left out depends on where the whole catch-up ends and on the cap, not on where its pages are
//! cut: it goes by ordinals, which count messages. Other kinds of records are delivered all the same.

use super::View;
use crate::entry::Gap;
use crate::log::Found;
use crate::reach::Halt;
use crate::state::{Interval, State};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, Ordinal, Position, Seq, UserId};
use highwater_proto::record::Record;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Up to which ordinal the messages of each conversation are left out, as far as was needed so far.
#[derive(Debug)]
pub(super) struct Cap {
    user: UserId,
    through: Position,
    /// Messages per conversation; 0: as many as there are.
    messages_max: u64,
    left_out: HashMap<ConversationId, Ordinal>,
}

/// A message that is left out: it belongs to the gap of this interval of the reader's.
#[derive(Clone, Debug)]
pub(super) struct LeftOut {
    conversation: ConversationId,
    name: Arc<str>,
    interval: usize,
    seq: Seq,
}

/// The gaps of a page. A gap ends where an interval of the reader's does.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    gaps: Vec<Gap>,
    places: HashMap<(ConversationId, usize), usize>,
}

/// Where the number of messages up to the end of a catch-up can be read off.
struct Probe {
    conversation: ConversationId,
    /// The first record beyond the end, if it is in memory.
    beyond: Option<Position>,
}

impl Cap {
    pub(super) fn new(user: UserId, through: Position, messages_max: u64) -> Self {
        Self { user, through, messages_max, left_out: HashMap::new() }
    }

    /// Finds out what [`Cap::leaves_out`] needs to know about these records' conversations.
    pub(super) fn prepare(&mut self, view: &View<'_>, records: &[Found]) -> Result<(), Halt> {
        if self.messages_max == 0 {
            return Ok(());
        }
        let messages = records.iter().filter(|record| record.fact.is_countable());
        let unknown: BTreeSet<ConversationId> = messages
            .map(|record| record.conversation)
            .filter(|conversation| !self.left_out.contains_key(conversation))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let (probes, persisted) = {
            let state = view.state.read();
            (self.note_or_probe(&state, unknown), state.persisted)
        };
        let mut ordinals = Vec::with_capacity(probes.len());
        for probe in probes {
            ordinals.push((probe.conversation, self.ordinal_before(view, &probe, persisted)?));
        }
        let state = view.state.read();
        for (conversation, ordinal) in ordinals {
            self.note(&state, conversation, ordinal);
        }
        Ok(())
    }

    /// Notes what the state tells at once. A conversation that has gone on since the catch-up's end has to be probed.
    fn note_or_probe(&mut self, state: &State, unknown: BTreeSet<ConversationId>) -> Vec<Probe> {
        let mut probes = Vec::new();
        for id in unknown {
            let Some(conversation) = state.conversation(id) else { continue };
            if conversation.ordinal.0 <= self.messages_max {
                self.left_out.insert(id, Ordinal::ZERO);
            } else if conversation.head_position <= self.through {
                self.note(state, id, conversation.ordinal);
            } else {
                let heads = state.frozen.as_deref().into_iter().chain([&state.head]);
                let mut outboxes = heads.filter_map(|head| head.outbox(id));
                let beyond = outboxes.find_map(|outbox| {
                    let first = outbox.range(self.through, conversation.head_position).next();
                    first.map(|entry| entry.position)
                });
                probes.push(Probe { conversation: id, beyond });
            }
        }
        probes
    }

    /// Messages before the first record beyond the catch-up's end.
    fn ordinal_before(&self, view: &View<'_>, probe: &Probe, persisted: Position) -> Result<Ordinal, Halt> {
        let mut beyond = probe.beyond;
        if self.through < persisted {
            // What is in the store comes before what is in memory.
            let stored = view.store.outbox_after(probe.conversation, self.through, persisted, 1, view.reach)?;
            beyond = stored.first().map(|(_, entry)| entry.position).or(beyond);
        }
        let missing = || {
            let message = format!("the timeline of conversation {} ends before its head", probe.conversation);
            Error::new(Code::Corrupt, message)
        };
        let records = view.records(&[beyond.ok_or_else(missing)?])?;
        let record = records.first().ok_or_else(missing)?;
        Ok(Ordinal(record.ordinal.0.saturating_sub(u64::from(record.fact.is_countable()))))
    }

    fn note(&mut self, state: &State, id: ConversationId, ordinal: Ordinal) {
        let member = state.conversation(id).and_then(|conversation| conversation.members.get(&self.user));
        let intervals = member.map_or(&[][..], |member| &member.intervals);
        self.left_out.insert(id, left_out_up_to(intervals, self.through, ordinal, self.messages_max));
    }

    /// Whether a record that its reader may see is left out nevertheless.
    pub(super) fn leaves_out(&self, state: &State, record: &Record) -> Option<LeftOut> {
        let up_to = self.left_out.get(&record.conversation)?;
        if !record.fact.is_countable() || record.ordinal > *up_to {
            return None;
        }
        let conversation = state.conversation(record.conversation)?;
        let intervals = &conversation.members.get(&self.user)?.intervals;
        let interval = intervals.iter().rposition(|interval| interval.holds(record.position))?;
        let name = conversation.name.clone();
        Some(LeftOut { conversation: record.conversation, name, interval, seq: record.seq })
    }
}

/// The last ordinal that is left out when of the messages inside the intervals, up to a position at which the
/// conversation had `ordinal` of them, only the newest `messages_max` are delivered. Zero: none is left out.
fn left_out_up_to(intervals: &[Interval], through: Position, ordinal: Ordinal, messages_max: u64) -> Ordinal {
    let mut room = messages_max;
    for interval in intervals.iter().rev().filter(|interval| interval.joined.position <= through) {
        let left = interval.left.filter(|left| left.position <= through);
        let last = left.map_or(ordinal, |left| left.ordinal);
        let messages = last.0.saturating_sub(interval.joined.ordinal.0);
        if messages > room {
            return Ordinal(last.0 - room);
        }
        room -= messages;
    }
    Ordinal::ZERO
}

impl Gaps {
    /// Adds a message that is left out; in a conversation they come in ascending order.
    pub(super) fn add(&mut self, message: LeftOut) {
        let LeftOut { conversation, name, interval, seq } = message;
        let place = *self.places.entry((conversation, interval)).or_insert(self.gaps.len());
        match self.gaps.get_mut(place) {
            Some(gap) => gap.to_seq = seq,
            None => self.gaps.push(Gap { conversation: name, from_seq: seq, to_seq: seq }),
        }
    }

    pub(super) fn into_vec(self) -> Vec<Gap> {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Mark;

    /// A mark at a position, with so many messages before (joined) or up to (left) it.
    fn mark((position, ordinal): (u64, u64)) -> Mark {
        Mark { position: Position(position), seq: Seq(position), ordinal: Ordinal(ordinal) }
    }

    #[test]
    fn the_newest_messages_inside_the_intervals_are_delivered() {
        for (intervals, through, ordinal, messages_max, expected) in [
            (vec![((1, 0), None)], 100, 10, 3, 7),
            (vec![((1, 0), None)], 100, 3, 3, 0),
            (vec![((1, 0), None)], 100, 4, 3, 1),
            (vec![((50, 8), None)], 100, 10, 3, 0),
            (vec![((50, 8), None)], 100, 10, 1, 9),
            // A former member: what came after it left does not count.
            (vec![((1, 0), Some((50, 6)))], 100, 20, 2, 4),
            (vec![((1, 0), Some((50, 6)))], 100, 20, 6, 0),
            // It left after the catch-up's end.
            (vec![((1, 0), Some((150, 30)))], 100, 20, 2, 18),
            // Returned: the newest are taken from the last interval first.
            (vec![((1, 0), Some((50, 6))), ((70, 9), None)], 100, 12, 2, 10),
            (vec![((1, 0), Some((50, 6))), ((70, 9), None)], 100, 12, 3, 6),
            (vec![((1, 0), Some((50, 6))), ((70, 9), None)], 100, 12, 5, 4),
            (vec![((1, 0), Some((50, 6))), ((70, 9), None)], 100, 12, 9, 0),
            // Returned after the catch-up's end.
            (vec![((1, 0), Some((50, 6))), ((170, 9), None)], 100, 8, 2, 4),
            // Returned, and nothing was said since.
            (vec![((1, 0), Some((50, 6))), ((70, 9), None)], 100, 9, 2, 4),
        ] {
            let intervals: Vec<Interval> = intervals
                .iter()
                .map(|(joined, left)| Interval { joined: mark(*joined), left: left.map(mark) })
                .collect();
            let found = left_out_up_to(&intervals, Position(through), Ordinal(ordinal), messages_max);
            assert_eq!(found, Ordinal(expected), "{intervals:?} to {through} with {ordinal}, cap {messages_max}");
        }
    }

    #[test]
    fn a_gap_spans_the_messages_of_one_interval() {
        let mut gaps = Gaps::default();
        for (conversation, interval, seq) in [(1, 0, 2), (2, 0, 5), (1, 0, 4), (1, 1, 9), (1, 1, 12)] {
            gaps.add(LeftOut {
                conversation: ConversationId(conversation),
                name: Arc::from(conversation.to_string()),
                interval,
                seq: Seq(seq),
            });
        }
        let gaps: Vec<(String, u64, u64)> = gaps
            .into_vec()
            .into_iter()
            .map(|gap| (gap.conversation.to_string(), gap.from_seq.0, gap.to_seq.0))
            .collect();
        assert_eq!(gaps, [("1".into(), 2, 4), ("2".into(), 5, 5), ("1".into(), 9, 12)]);
    }
}
