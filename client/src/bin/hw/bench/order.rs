//! Whether what a reader gets is in order: every conversation's numbers without a hole, nothing twice, nothing going back.
//!
//! Pure: one event at a time, and no clock.

use super::ending::Expected;
use highwater_client::{Conversation, Gap, Record};
use std::collections::HashMap;

/// Descriptions of violations that are kept; the others are only counted.
const DESCRIBED_MAX: usize = 5;

/// How far a reader has got.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last position received.
    position: u64,
    /// Of each conversation the last number received, or known from a snapshot.
    last: HashMap<String, u64>,
    found: Violations,
}

/// What was not as promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations {
    /// Records that came again.
    pub(super) duplicates: u64,
    /// Numbers left out, positions that went back, gaps that nobody asked for, deltas that did not follow on.
    pub(super) order: u64,
    /// Messages that were acknowledged and did not come.
    pub(super) missing: u64,
    /// The first of them, for people.
    pub(super) described: Vec<String>,
}

impl Violations {
    /// Takes another reader's in.
    pub(super) fn merge(&mut self, other: Violations) {
        self.duplicates += other.duplicates;
        self.order += other.order;
        self.missing += other.missing;
        let room = DESCRIBED_MAX.saturating_sub(self.described.len());
        self.described.extend(other.described.into_iter().take(room));
    }

    fn describe(&mut self, what: impl FnOnce() -> String) {
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(what());
        }
    }
}

impl Order {
    /// Takes the next record. False if it was there before.
    pub(super) fn record(&mut self, record: &Record) -> bool {
        let Record { position, conversation, seq, .. } = record;
        let last = self.last.get_mut(conversation.as_str());
        let before = last.as_ref().map_or(0, |last| **last);
        if *position <= self.position || seq.is_some_and(|seq| seq <= before) {
            self.found.duplicates += 1;
            self.found.describe(|| format!("{conversation:?} seq {seq:?}: came again at position {position}"));
            return false;
        }
        self.position = *position;
        let Some(seq) = *seq else { return true };
        if seq != before + 1 {
            self.found.order += 1;
            self.found.describe(|| format!("{conversation:?}: seq {seq} came after {before}"));
        }
        match last {
            Some(last) => *last = seq,
            None => drop(self.last.insert(conversation.clone(), seq)),
        }
        true
    }

    /// The reader begins, or begins anew: a snapshot follows.
    pub(super) fn reset(&mut self) {
        self.position = 0;
        self.last.clear();
    }

    /// A conversation of a snapshot: its numbers go on from its head.
    pub(super) fn conversation(&mut self, conversation: &Conversation) {
        self.last.insert(conversation.conversation.clone(), conversation.head);
    }

    /// Messages were left out, which does not happen to those who did not ask for it.
    pub(super) fn gap(&mut self, gap: &Gap) {
        self.found.order += 1;
        self.found.describe(|| format!("{:?}: a gap up to seq {}", gap.conversation, gap.to_seq));
        self.last.insert(gap.conversation.clone(), gap.to_seq);
    }

    /// A delta did not follow on.
    pub(super) fn refused(&mut self, why: &str) {
        self.found.order += 1;
        self.found.describe(|| why.to_owned());
    }

    /// Whether everything up to these numbers has come.
    pub(super) fn has(&self, expected: &Expected) -> bool {
        expected.iter().all(|(conversation, seq)| self.last.get(conversation).is_some_and(|last| last >= seq))
    }

    /// What was found, when nothing more will come; these numbers had to come.
    pub(super) fn finish(mut self, expected: &Expected) -> Violations {
        for (conversation, seq) in expected {
            let last = self.last.get(conversation).copied().unwrap_or(0);
            if last < *seq {
                self.found.missing += seq - last;
                self.found.describe(|| format!("{conversation:?}: nothing came after seq {last}, up to {seq}"));
            }
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_client::{Content, Text};

    fn record(position: u64, conversation: &str, seq: Option<u64>) -> Record {
        Record {
            position,
            conversation: conversation.to_owned(),
            seq,
            from: None,
            device: None,
            time_ms: 0,
            by_service: false,
            content: Content::Message(Text::default()),
        }
    }

    fn counts(records: &[Record], expected: &[(&str, u64)]) -> (u64, u64, u64) {
        let mut order = Order::default();
        for record in records {
            order.record(record);
        }
        let expected = expected.iter().map(|(name, seq)| ((*name).to_owned(), *seq)).collect();
        let all = order.has(&expected);
        let found = order.finish(&expected);
        assert_eq!(all, found.missing == 0);
        let counts = (found.duplicates, found.order, found.missing);
        assert_eq!(counts == (0, 0, 0), found.described.is_empty());
        counts
    }

    #[test]
    fn every_violation_is_counted() {
        let a = |position, seq| record(position, "a", Some(seq));
        let b = |position, seq| record(position, "b", Some(seq));
        let faithful = [a(3, 1), b(4, 1), record(5, "a", None), a(6, 2), b(9, 2), b(10, 3)];
        assert_eq!(counts(&faithful, &[("a", 2), ("b", 3)]), (0, 0, 0));
        assert_eq!(counts(&faithful, &[("a", 4), ("b", 3), ("c", 1)]), (0, 0, 3), "what did not come");
        assert_eq!(counts(&[a(3, 1), a(3, 1)], &[]), (1, 0, 0), "the same record again");
        assert_eq!(counts(&[a(3, 1), a(4, 1)], &[]), (1, 0, 0), "a number again");
        assert_eq!(counts(&[a(3, 1), b(2, 1)], &[]), (1, 0, 0), "a position that goes back");
        assert_eq!(counts(&[a(3, 1), a(4, 3), a(5, 4)], &[]), (0, 1, 0), "a hole");
        assert_eq!(counts(&[b(3, 2)], &[]), (0, 1, 0), "a beginning that is none");
    }

    #[test]
    fn a_snapshot_tells_where_numbers_go_on() {
        let mut order = Order::default();
        order.record(&record(3, "a", Some(1)));
        order.reset();
        let conversation = Conversation {
            conversation: "a".to_owned(),
            kind: highwater_client::Kind::Group,
            role: None,
            head: 7,
            read: 0,
            unread: 0,
            muted: false,
            ranges: Vec::new(),
            last: None,
        };
        order.conversation(&conversation);
        assert!(order.record(&record(2, "a", Some(8))));
        order.gap(&Gap { conversation: "a".to_owned(), from_seq: 9, to_seq: 11 });
        assert!(order.record(&record(20, "a", Some(12))));
        let found = order.finish(&Expected::new());
        assert_eq!((found.duplicates, found.order), (0, 1));
    }
}
