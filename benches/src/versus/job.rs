//! The job that everybody does: who is in which conversation, what is sent, and what a reader must have seen.
//!
//! [`READERS`] members read and [`SENDERS`] others send. A conversation of N members is one sender and N - 1 readers. A
//! sender has a connection of its own, and conversations of its own: so the order in a conversation is the order of one
//! connection, which every rival keeps without locks. A reader is in 4 conversations (16 of 1,000 members, since every
//! sender has at least one).
//!
//! A body is prose, but for its first eight bytes: the conversation's index and the message's number in it, from 1. So
//! whoever reads can tell without asking the server whether a message is missing, came twice or out of order.

use crate::context::Failure;
use crate::workload::Text;
use bytes::Bytes;
use std::time::Instant;

/// Members that catch up.
pub(crate) const READERS: usize = 1_000;
/// Connections that send.
pub(crate) const SENDERS: usize = 16;
/// Most messages of a connection that are not acknowledged.
pub(crate) const IN_FLIGHT_MAX: usize = 64;
/// Most copies of a connection that are not acknowledged, where every member gets one: a few large batches keep a server
/// as busy as many, and end sooner.
pub(crate) const COPIES_IN_FLIGHT_MAX: usize = 8_192;
/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 200;
/// Messages that each reader has missed, about.
pub(crate) const MISSED: usize = 200;

/// Least common multiple of [`SENDERS`] and [`READERS`].
const PAIRS: usize = 2_000;
const _: () = assert!(PAIRS.is_multiple_of(SENDERS) && PAIRS.is_multiple_of(READERS));
const HEAD_BYTES: usize = 8;
const BODIES: usize = 256;

/// Who is in which conversation.
#[derive(Debug)]
pub(crate) struct Job {
    /// Members of a conversation, its sender included.
    pub(crate) members: usize,
    /// The readers of each conversation.
    pub(crate) readers: Vec<Vec<usize>>,
    bodies: Vec<Vec<u8>>,
}

impl Job {
    pub(crate) fn new(members: usize, seed: u64) -> Self {
        let others = members - 1;
        let conversations = (4 * READERS).div_ceil(others).next_multiple_of(SENDERS);
        let readers = (0..conversations).map(|conversation| {
            // Two members have one direct conversation: after so many the same pair would come again.
            let shift = if others == 1 { conversation / PAIRS } else { 0 };
            let first = conversation * others + shift;
            (first..first + others).map(|place| place % READERS).collect()
        });
        let mut text = Text::new(seed);
        let bodies = (0..BODIES).map(|_| text.body(BODY_BYTES)).collect();
        Self { members, readers: readers.collect(), bodies }
    }

    pub(crate) fn conversations(&self) -> usize {
        self.readers.len()
    }

    pub(crate) fn sender_of(conversation: usize) -> usize {
        conversation % SENDERS
    }

    /// Conversations of each reader, in ascending order.
    pub(crate) fn memberships(&self) -> Vec<Vec<usize>> {
        let mut memberships = vec![Vec::new(); READERS];
        for (conversation, readers) in self.readers.iter().enumerate() {
            for reader in readers {
                memberships[*reader].push(conversation);
            }
        }
        memberships
    }

    /// Messages for each conversation, so that every reader has missed about [`MISSED`].
    pub(crate) fn missed_each(&self) -> u32 {
        let memberships = self.conversations() * (self.members - 1);
        (MISSED * READERS).div_ceil(memberships) as u32
    }

    pub(crate) fn body(&self, conversation: usize, number: u32) -> Bytes {
        let mut body = self.bodies[(conversation + number as usize) % BODIES].clone();
        body[..4].copy_from_slice(&(conversation as u32).to_be_bytes());
        body[4..HEAD_BYTES].copy_from_slice(&number.to_be_bytes());
        body.into()
    }
}

/// The name of a reader, and of a sender.
pub(crate) fn reader_name(reader: usize) -> String {
    format!("r{reader:04}")
}

/// The name of a sender.
pub(crate) fn sender_name(sender: usize) -> String {
    format!("s{sender:02}")
}

/// When a source runs dry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// At this instant.
    Time(Instant),
    /// When each conversation has had so many more messages.
    Each(u32),
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) conversation: usize,
    pub(crate) body: Bytes,
}

/// What one sender sends: to its conversations in turn.
#[derive(Debug)]
pub(crate) struct Source {
    job: std::sync::Arc<Job>,
    /// Its conversations, with the number of the last message given.
    turns: Vec<(usize, u32)>,
    at: usize,
    left: u64,
    until: Until,
    /// Messages in flight at most.
    pub(crate) window: usize,
    /// Messages given since [`Source::begin`].
    pub(crate) given: u64,
}

impl Source {
    /// `copies`: of a message, in the store.
    pub(crate) fn new(job: &std::sync::Arc<Job>, sender: usize, copies: usize) -> Self {
        let own = (0..job.conversations()).filter(|conversation| Job::sender_of(*conversation) == sender);
        let window = IN_FLIGHT_MAX.min((COPIES_IN_FLIGHT_MAX / copies).max(1));
        let turns = own.map(|conversation| (conversation, 0)).collect();
        Self { job: std::sync::Arc::clone(job), turns, at: 0, left: 0, until: Until::Each(0), window, given: 0 }
    }

    pub(crate) fn begin(&mut self, until: Until) {
        self.until = until;
        self.given = 0;
        self.at = 0;
        self.left = match until {
            Until::Time(_) => u64::MAX,
            Until::Each(count) => u64::from(count) * self.turns.len() as u64,
        };
    }

    /// The next message; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Outgoing> {
        if self.left == 0 {
            return None;
        }
        self.left = match self.until {
            Until::Time(end) if Instant::now() >= end => 0,
            _ => self.left - 1,
        };
        if self.left == 0 && matches!(self.until, Until::Time(_)) {
            return None;
        }
        let index = self.at;
        self.at = if index + 1 == self.turns.len() { 0 } else { index + 1 };
        let (conversation, number) = &mut self.turns[index];
        *number += 1;
        self.given += 1;
        Some(Outgoing { conversation: *conversation, body: self.job.body(*conversation, *number) })
    }

    /// As many as there are, up to the window.
    pub(crate) fn batch(&mut self) -> Vec<Outgoing> {
        let mut batch = Vec::with_capacity(self.window);
        while batch.len() < self.window
            && let Some(outgoing) = self.next()
        {
            batch.push(outgoing);
        }
        batch
    }

    /// Its conversations, with the number of the last message given.
    pub(crate) fn last(&self) -> &[(usize, u32)] {
        &self.turns
    }
}

/// What one reader must see: of each of its conversations the numbers up to the last, each once and in order.
#[derive(Debug)]
pub(crate) struct Seen {
    reader: usize,
    /// Conversation, number of the last message seen, number of the last one that there is.
    conversations: Vec<(usize, u32, u32)>,
    pub(crate) records: u64,
}

impl Seen {
    pub(crate) fn new(reader: usize, conversations: Vec<(usize, u32, u32)>) -> Self {
        Self { reader, conversations, records: 0 }
    }

    /// How many records are still to come.
    pub(crate) fn missing(&self) -> usize {
        self.missing_of(|_| true)
    }

    /// How many records of some conversations are still to come.
    pub(crate) fn missing_of(&self, chosen: impl Fn(usize) -> bool) -> usize {
        let chosen = self.conversations.iter().filter(|(conversation, ..)| chosen(*conversation));
        chosen.map(|(_, seen, last)| (last - seen) as usize).sum()
    }

    /// Takes a message in, and tells its number.
    pub(crate) fn take(&mut self, body: &[u8]) -> Result<u32, Failure> {
        let (Some(head), BODY_BYTES) = (body.first_chunk::<HEAD_BYTES>(), body.len()) else {
            return Err(format!("reader {} got a body of {} bytes", self.reader, body.len()).into());
        };
        let [a, b, c, d, number @ ..] = *head;
        let (conversation, number) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes(number));
        let known = self.conversations.iter_mut().find(|(known, ..)| *known == conversation);
        let Some((_, seen, _)) = known else {
            return Err(format!("reader {} got a message of conversation {conversation}", self.reader).into());
        };
        if number != *seen + 1 {
            let reader = self.reader;
            return Err(format!("reader {reader} got message {number} of {conversation} after message {seen}").into());
        }
        *seen = number;
        self.records += 1;
        Ok(number)
    }

    /// Fails unless everything was seen.
    pub(crate) fn complete(&self) -> Result<(), Failure> {
        match self.missing() {
            0 => Ok(()),
            missing => Err(format!("reader {} lacks {missing} messages", self.reader).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn everybody_is_in_about_as_many_conversations() {
        for members in [2, 20, 200, 1_000] {
            let job = Job::new(members, 1);
            let counts: Vec<usize> = job.memberships().iter().map(Vec::len).collect();
            let (min, max) = (counts.iter().min().copied(), counts.iter().max().copied());
            assert!(min >= Some(4) && max <= Some(16) && max <= min.map(|min| min + 1), "{members}: {min:?} {max:?}");
            assert!(job.readers.iter().all(|readers| readers.len() == members - 1));
        }
    }

    #[test]
    fn no_pair_has_two_direct_conversations() {
        let job = Job::new(2, 1);
        let pairs =
            job.readers.iter().enumerate().map(|(conversation, readers)| (Job::sender_of(conversation), readers[0]));
        let distinct: std::collections::BTreeSet<_> = pairs.collect();
        assert_eq!(distinct.len(), job.conversations());
    }

    #[test]
    fn what_is_missing_twice_or_out_of_order_is_noticed() {
        let job = Arc::new(Job::new(20, 1));
        let mut source = Source::new(&job, 3, 1);
        source.begin(Until::Each(2));
        let bodies: Vec<Bytes> = std::iter::from_fn(|| source.next()).map(|outgoing| outgoing.body).collect();
        let own = source.last().len();
        assert_eq!(bodies.len(), 2 * own);
        let of_first = [bodies[0].clone(), bodies[own].clone()];
        let seen = || Seen::new(7, vec![(3, 0, 2)]);
        let mut good = seen();
        assert!(of_first.iter().all(|body| good.take(body).is_ok()) && good.complete().is_ok());
        let mut missing = seen();
        assert!(missing.take(&of_first[0]).is_ok() && missing.complete().is_err());
        assert!(missing.take(&of_first[0]).is_err(), "twice");
        assert!(seen().take(&of_first[1]).is_err(), "out of order");
        assert!(seen().take(&bodies[1]).is_err(), "of another conversation");
        assert!(seen().take(&of_first[0][..199]).is_err(), "cut off");
    }
}
