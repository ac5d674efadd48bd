//! What a replay sends: every message with its author's number for it and with the message that must come before it.
//!
//! Numbers are known before anything is sent, because they leave out exactly the bodies above the server's limit. This is
//! what lets an interrupted replay go on where it was.

use super::source::Source;
use crate::crowd::groups::Group;

/// The messages of a source that go out, and their order.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What it was made from. Its messages above the limit are gone.
    pub(crate) source: Source,
    /// Messages whose body is above the server's limit.
    pub(crate) refused: u64,
    /// Of each author the messages, ascending; the n-th is the author's number n (from 1).
    pub(crate) by_author: Vec<Vec<u32>>,
    /// Of each message the author's number for it, from 1.
    pub(crate) numbers: Vec<u32>,
    /// Of each conversation the first message.
    pub(crate) first: Vec<Option<u32>>,
    /// Of each message the one before it in its conversation.
    pub(crate) before: Vec<Option<u32>>,
    /// Of each message the one after it in its conversation.
    pub(crate) after: Vec<Option<u32>>,
}

impl Plan {
    /// Plans what a server takes whose longest body has `body_bytes_max` bytes.
    pub(crate) fn new(mut source: Source, body_bytes_max: usize) -> Self {
        let all = source.messages.len();
        source.messages.retain(|message| message.body.len() <= body_bytes_max);
        let refused = (all - source.messages.len()) as u64;
        let count = source.messages.len();
        let mut by_author = vec![Vec::new(); source.users.len()];
        let mut newest: Vec<Option<u32>> = vec![None; source.conversations.len()];
        let mut first = vec![None; source.conversations.len()];
        let mut numbers = Vec::with_capacity(count);
        let mut before = Vec::with_capacity(count);
        let mut after = vec![None; count];
        for (index, message) in (0u32..).zip(&source.messages) {
            let own = &mut by_author[message.author as usize];
            own.push(index);
            numbers.push(own.len() as u32);
            let previous = newest[message.conversation as usize].replace(index);
            match previous {
                Some(previous) => after[previous as usize] = Some(index),
                None => first[message.conversation as usize] = Some(index),
            }
            before.push(previous);
        }
        Self { source, refused, by_author, numbers, first, before, after }
    }

    /// How many messages go out.
    pub(crate) fn len(&self) -> usize {
        self.source.messages.len()
    }

    /// A conversation as it is made.
    pub(crate) fn group(&self, number: usize) -> Group {
        let source = &self.source.conversations[number];
        let members = source.members.iter().map(|user| self.source.users[*user as usize].clone()).collect();
        Group { id: source.id.clone(), members, fanout: None }
    }

    /// The author of a message.
    pub(crate) fn author(&self, message: u32) -> u32 {
        self.source.messages[message as usize].author
    }

    /// How many records members other than the author receive of all messages together.
    pub(crate) fn deliveries(&self) -> u64 {
        let members = |message: &super::source::Message| {
            self.source.conversations[message.conversation as usize].members.len() as u64 - 1
        };
        self.source.messages.iter().map(members).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::replay::source::{Conversation, Message};
    use bytes::Bytes;

    /// A source whose messages are (author, conversation, body); everybody is a member everywhere.
    pub(crate) fn source(users: u32, conversations: u32, messages: &[(u32, u32, &str)]) -> Source {
        Source {
            device: "replay-00000000".to_owned(),
            seed: 7,
            users: (0..users).map(|user| format!("user {user}")).collect(),
            conversations: (0..conversations)
                .map(|number| Conversation { id: format!("c {number}"), members: (0..users).collect() })
                .collect(),
            messages: (0u64..)
                .zip(messages)
                .map(|(time, (author, conversation, body))| Message {
                    author: *author,
                    conversation: *conversation,
                    sent_at_ms: Some(time),
                    body: Bytes::copy_from_slice(body.as_bytes()),
                })
                .collect(),
            skipped: 0,
        }
    }

    #[test]
    fn numbers_leave_out_what_is_too_large() {
        let plan = Plan::new(
            source(2, 2, &[(0, 0, "one"), (1, 0, "too large"), (0, 1, "two"), (1, 0, "1"), (0, 0, "three")]),
            5,
        );
        assert_eq!(plan.refused, 1);
        assert_eq!(plan.len(), 4);
        assert_eq!(plan.numbers, [1, 2, 1, 3]);
        assert_eq!(plan.by_author, [vec![0, 1, 3], vec![2]]);
        assert_eq!(plan.first, [Some(0), Some(1)]);
        assert_eq!(plan.before, [None, None, Some(0), Some(2)]);
        assert_eq!(plan.after, [Some(2), None, Some(3), None]);
        assert_eq!(plan.deliveries(), 4);
    }
}
