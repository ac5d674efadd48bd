//! Compares what a user receives with what the source says the user should receive: pure, one record at a time.

use super::plan::Plan;
use highwater_client::{Content, Gap, Record, Text};
use std::collections::{HashMap, HashSet};

/// Descriptions of differences that are kept; the others are only counted.
const DESCRIBED_MAX: usize = 5;

/// How far a user's timeline has been compared.
pub(crate) struct Comparison<'p> {
    plan: &'p Plan,
    /// The user's conversations, by id.
    expected: HashMap<&'p str, Expected>,
    /// Chosen conversations that the user is not in.
    foreign: HashSet<&'p str>,
    /// The last position received.
    position: u64,
    /// Of each author the last message received.
    newest: HashMap<u32, u32>,
    result: Outcome,
}

struct Expected {
    number: u32,
    /// The message that has to come next.
    next: Option<u32>,
    /// The last seq received.
    seq: Option<u64>,
    /// Who was made a member so far, as far as the user could see.
    members: HashSet<String>,
    /// Whether the user saw the beginning, and so all that were made members.
    from_beginning: bool,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Messages received and compared.
    pub(crate) compared: u64,
    /// Differences found.
    pub(crate) mismatches: u64,
    /// The first of them, for people.
    pub(crate) described: Vec<String>,
}

impl Outcome {
    /// Takes another user's result in.
    pub(crate) fn merge(&mut self, other: Outcome) {
        self.compared += other.compared;
        self.mismatches += other.mismatches;
        let room = DESCRIBED_MAX.saturating_sub(self.described.len());
        self.described.extend(other.described.into_iter().take(room));
    }

    fn differs(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.mismatches += count;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(what());
        }
    }
}

impl<'p> Comparison<'p> {
    /// Nothing has been received yet. `conversations` are those that the user is in.
    pub(crate) fn new(plan: &'p Plan, conversations: &[u32]) -> Self {
        let of_user: HashSet<u32> = conversations.iter().copied().collect();
        let mut expected = HashMap::with_capacity(conversations.len());
        let mut foreign = HashSet::new();
        for (number, conversation) in (0u32..).zip(&plan.source.conversations) {
            if of_user.contains(&number) {
                let next = plan.first[number as usize];
                let state = Expected { number, next, seq: None, members: HashSet::new(), from_beginning: false };
                expected.insert(conversation.id.as_str(), state);
            } else {
                foreign.insert(conversation.id.as_str());
            }
        }
        Self { plan, expected, foreign, position: 0, newest: HashMap::new(), result: Outcome::default() }
    }

    /// Takes the next record that the user received.
    pub(crate) fn record(&mut self, record: &Record) {
        if record.position <= self.position {
            let before = self.position;
            self.result.differs(1, || format!("position {} came after {before}", record.position));
        }
        self.position = record.position;
        let Some(expected) = self.expected.get_mut(record.conversation.as_str()) else {
            if self.foreign.contains(record.conversation.as_str()) {
                self.result.differs(1, || format!("a record of {:?}, whose member this is not", record.conversation));
            }
            return;
        };
        if let (Some(seq), Some(before)) = (record.seq, expected.seq)
            && seq != before + 1
        {
            self.result.differs(1, || format!("{:?}: seq {seq} came after {before}", record.conversation));
        }
        expected.seq = record.seq.or(expected.seq);
        match &record.content {
            Content::Message(text) if record.device.as_ref() == Some(&self.plan.source.device) => {
                self.message(record, text);
            }
            Content::Create { members, .. } => {
                expected.from_beginning = true;
                expected.members.extend(members.iter().cloned());
            }
            Content::Add { members } => expected.members.extend(members.iter().cloned()),
            Content::Remove { members } | Content::Leave { members } => {
                expected.members.retain(|known| !members.contains(known));
            }
            // Other devices' messages are not the replay's.
            _ => {}
        }
    }

    fn message(&mut self, record: &Record, text: &Text) {
        self.result.compared += 1;
        let Some(expected) = self.expected.get_mut(record.conversation.as_str()) else { return };
        let Some(index) = expected.next else {
            self.result.differs(1, || format!("{:?}: one message more than in the source", record.conversation));
            return;
        };
        expected.next = self.plan.after[index as usize];
        let message = &self.plan.source.messages[index as usize];
        let author = &self.plan.source.users[message.author as usize];
        let field = if record.from.as_ref() != Some(author) {
            "author"
        } else if text.body.as_ref() != Some(&message.body) {
            "text"
        } else if text.sent_at_ms != message.sent_at_ms {
            "time"
        } else if self.newest.insert(message.author, index).is_some_and(|before| before > index) {
            "place among its author's messages"
        } else {
            return;
        };
        let seq = record.seq.unwrap_or_default();
        self.result.differs(1, || format!("{:?} seq {seq}: another {field} than in the source", record.conversation));
    }

    /// Messages were left out, which does not happen to those who did not ask for it.
    pub(crate) fn gap(&mut self, gap: &Gap) {
        let count = gap.to_seq.saturating_sub(gap.from_seq) + 1;
        self.result.differs(count, || format!("{:?}: a gap of {count} messages", gap.conversation));
    }

    /// The timeline was cut off and replaced by a list of conversations.
    pub(crate) fn reset(&mut self, reason: &str) {
        self.result.differs(1, || format!("a reset ({reason})"));
    }

    /// Everything has been received.
    pub(crate) fn finish(mut self) -> Outcome {
        for (id, expected) in &self.expected {
            let mut missing = 0;
            let mut next = expected.next;
            while let Some(index) = next {
                missing += 1;
                next = self.plan.after[index as usize];
            }
            if missing > 0 {
                self.result.differs(missing, || format!("{id:?}: {missing} messages are missing"));
            }
            if !self.members_agree(expected) {
                self.result.differs(1, || format!("{id:?}: other members than in the source"));
            }
        }
        self.result
    }

    /// A user who came with a later part of the members has not seen the parts before.
    fn members_agree(&self, expected: &Expected) -> bool {
        let source = &self.plan.source.conversations[expected.number as usize].members;
        let known =
            source.iter().filter(|user| expected.members.contains(&self.plan.source.users[**user as usize])).count();
        let all_known = known == expected.members.len();
        all_known && known > 0 && (known == source.len() || !expected.from_beginning)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::source;
    use super::*;
    use bytes::Bytes;

    /// Two conversations of two users; user 1 says "b" between user 0's "a" and "c" in the first one.
    fn plan() -> Plan {
        Plan::new(source(2, 2, &[(0, 0, "a"), (1, 0, "b"), (0, 1, "x"), (0, 0, "c")]), 100)
    }

    fn record(conversation: u32, position: u64, seq: u64, from: Option<u32>, content: Content) -> Record {
        Record {
            position,
            conversation: format!("c {conversation}"),
            seq: Some(seq),
            from: from.map(|user| format!("user {user}")),
            device: from.map(|_| "replay-00000000".to_owned()),
            time_ms: 0,
            by_service: from.is_none(),
            content,
        }
    }

    fn create(conversation: u32, position: u64) -> Record {
        let members = vec!["user 0".to_owned(), "user 1".to_owned()];
        let kind = highwater_proto::record::Kind::Group;
        let content = Content::Create { kind, owner: None, members, open: false, history: false };
        record(conversation, position, 1, None, content)
    }

    fn message(conversation: u32, position: u64, seq: u64, from: u32, body: &str, sent_at_ms: u64) -> Record {
        let body = Some(Bytes::copy_from_slice(body.as_bytes()));
        let text = Text { body, sent_at_ms: Some(sent_at_ms), ..Text::default() };
        record(conversation, position, seq, Some(from), Content::Message(text))
    }

    fn faithful() -> Vec<Record> {
        vec![
            create(0, 1),
            create(1, 2),
            message(0, 3, 2, 0, "a", 0),
            message(0, 4, 3, 1, "b", 1),
            message(1, 5, 2, 0, "x", 2),
            message(0, 6, 4, 0, "c", 3),
        ]
    }

    fn compare(records: &[Record]) -> Outcome {
        let plan = plan();
        let mut comparison = Comparison::new(&plan, &[0, 1]);
        records.iter().for_each(|record| comparison.record(record));
        comparison.finish()
    }

    #[test]
    fn a_faithful_timeline_has_no_mismatch() {
        assert_eq!(compare(&faithful()), Outcome { compared: 4, ..Outcome::default() });
    }

    #[test]
    fn every_alteration_is_found() {
        type Alter = fn(&mut Vec<Record>);
        let alterations: [(&str, Alter); 13] = [
            ("left out", |records| drop(records.remove(3))),
            ("left out at the end", |records| drop(records.pop())),
            ("doubled", |records| records.push(message(0, 7, 5, 0, "c", 3))),
            ("swapped", |records| {
                records[2] = message(0, 3, 2, 1, "b", 1);
                records[3] = message(0, 4, 3, 0, "a", 0);
            }),
            ("other author", |records| records[3].from = Some("user 0".to_owned())),
            ("other text", |records| records[3] = message(0, 4, 3, 1, "b ", 1)),
            ("other time", |records| records[3] = message(0, 4, 3, 1, "b", 2)),
            ("no time", |records| {
                let text = Text { body: Some(Bytes::from("b")), ..Text::default() };
                records[3].content = Content::Message(text);
            }),
            ("recalled", |records| records[3].content = Content::Message(Text::default())),
            ("a hole in the seqs", |records| records[5].seq = Some(5)),
            ("positions that go back", |records| records[5].position = 5),
            ("an author's order", |records| {
                records[4] = message(0, 5, 4, 0, "c", 3);
                records[5] = message(1, 6, 2, 0, "x", 2);
            }),
            ("a member more", |records| {
                records.push(record(0, 7, 5, None, Content::Add { members: vec!["stranger".to_owned()] }));
            }),
        ];
        for (name, alter) in alterations {
            let mut records = faithful();
            alter(&mut records);
            let outcome = compare(&records);
            assert!(outcome.mismatches > 0 && !outcome.described.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_member_less_a_gap_a_reset_and_a_foreign_record_are_found() {
        let plan = plan();
        let faithful = faithful();
        let check = |conversations: &[u32], change: &dyn Fn(&mut Comparison<'_>)| {
            let mut comparison = Comparison::new(&plan, conversations);
            faithful.iter().for_each(|record| comparison.record(record));
            change(&mut comparison);
            comparison.finish().mismatches
        };
        assert_eq!(check(&[0, 1], &|_| {}), 0);
        assert_eq!(check(&[0], &|_| {}), 2);
        let gap = Gap { conversation: "c 0".to_owned(), from_seq: 2, to_seq: 3 };
        assert_eq!(check(&[0, 1], &|comparison| comparison.gap(&gap)), 2);
        assert_eq!(check(&[0, 1], &|comparison| comparison.reset("epoch")), 1);
        let removed = record(0, 7, 5, None, Content::Remove { members: vec!["user 1".to_owned()] });
        assert_eq!(check(&[0, 1], &|comparison| comparison.record(&removed)), 1);
    }

    #[test]
    fn other_devices_and_later_parts_of_the_members_are_no_mismatch() {
        let mut records = faithful();
        let mut other = message(0, 7, 5, 1, "by hand", 9);
        other.device = Some("cli".to_owned());
        records.push(other);
        records[1] = record(1, 2, 2, None, Content::Add { members: vec!["user 1".to_owned()] });
        records[4].seq = Some(3);
        assert_eq!(compare(&records), Outcome { compared: 4, ..Outcome::default() });
    }
}
