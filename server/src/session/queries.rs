//! Queries: one question and one answer, each on a stream of its own.
//!
//! An answer is cut at a limit of bytes as well as of entries, so a page may be shorter than was asked for: an empty
//! page, or one without a cursor, is the end.

use super::{Session, protocol};
use crate::convert::{self, Speaker};
use crate::limits::{ANSWER_BYTES_MAX, QUERY_BYTES_MAX};
use bytes::Bytes;
use highwater_engine::Engine;
use highwater_engine::entry::{Entry, HistoryRange};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Position, Seq, UserId};
use highwater_proto::limits::PAGE_ENTRIES_MAX;
use highwater_proto::wire::{
    Answer, ConversationsQuery, Failure, FrameReader, HistoryQuery, MembersQuery, Query, encode_frame, query::Call,
};
use prost::Message;
use quinn::{RecvStream, SendStream, VarInt};
use std::sync::Arc;
use tokio::time::timeout;

/// Behind commands and deltas.
const PRIORITY: i32 = 0;
/// Entries with a body that are read at once, so that a page of the longest bodies is never whole in memory.
const BODIES_AT_ONCE: usize = 16;

/// Answers the question on a stream.
pub(super) async fn serve(session: Arc<Session>, mut question: RecvStream, mut answer: SendStream) {
    let _ = answer.set_priority(PRIORITY);
    let deadline = session.shared.timeouts.query;
    let query = match timeout(deadline, read(&mut question)).await {
        Ok(Ok(query)) => query,
        Ok(Err(error)) => return session.ending.end(error),
        Err(_) => {
            // Dropped, it would look like an answer that is empty.
            let _ = answer.reset(VarInt::from_u32(0));
            return;
        }
    };
    let speaker = session.speaker.clone();
    let read = session.shared.read(move |engine| respond(engine, &speaker, query)).await;
    let message = read.unwrap_or_else(|error| failure(&error));
    let mut frame = Vec::with_capacity(message.encoded_len() + 4);
    if let Err(error) = encode_frame(&message, &mut frame) {
        frame.clear();
        if encode_frame(&failure(&error.into()), &mut frame).is_err() {
            return;
        }
    }
    let written = timeout(deadline, async {
        answer.write_chunk(frame.into()).await?;
        Ok::<_, quinn::WriteError>(())
    });
    match written.await {
        // A stream that the peer stopped needs no end.
        Ok(Ok(())) => drop(answer.finish()),
        _ => drop(answer.reset(VarInt::from_u32(0))),
    }
}

async fn read(question: &mut RecvStream) -> Result<Query, Error> {
    let mut frames = FrameReader::with_bytes_max(QUERY_BYTES_MAX);
    loop {
        if let Some(query) = frames.next::<Query>()? {
            return Ok(query);
        }
        match question.read_chunk(QUERY_BYTES_MAX, true).await {
            Ok(Some(chunk)) => frames.push(&chunk.bytes),
            Ok(None) => return Err(protocol("a query's stream ended before the query")),
            Err(error) => return Err(protocol(format!("a query's stream broke off: {error}"))),
        }
    }
}

fn failure(error: &Error) -> Answer {
    Answer { failure: Some(Failure::from(error)), ..Answer::default() }
}

fn respond(engine: &Engine, speaker: &Speaker, query: Query) -> Result<Answer, Error> {
    match query.call {
        Some(Call::History(query)) => history(engine, speaker.reader()?, &query),
        Some(Call::Conversations(query)) => conversations(engine, speaker.reader()?, &query),
        Some(Call::Members(query)) => members(engine, speaker, &query),
        Some(Call::Devices(_)) => {
            let devices = engine.devices(speaker.owner_of_devices()?)?;
            Ok(Answer { devices: devices.into_iter().map(convert::device).collect(), ..Answer::default() })
        }
        None => Err(Error::new(Code::InvalidArgument, "the query holds no call that is known here")),
    }
}

fn history(engine: &Engine, user: &str, query: &HistoryQuery) -> Result<Answer, Error> {
    let mut range = match (query.before, query.after) {
        (None, None) => HistoryRange::Newest,
        (Some(seq), None) => HistoryRange::Before(Seq(seq)),
        (None, Some(seq)) => HistoryRange::After(Seq(seq)),
        (Some(_), Some(_)) => {
            return Err(Error::new(Code::InvalidArgument, "before and after exclude each other"));
        }
    };
    let upwards = matches!(range, HistoryRange::After(_));
    let mut page = Page::new(query.limit);
    let mut records = Vec::new();
    loop {
        let wanted = page.left().min(BODIES_AT_ONCE);
        let mut entries = engine.history(user, &query.conversation, range, wanted)?;
        let is_last = entries.len() < wanted;
        if !upwards {
            // The nearest come first, until all are turned round.
            entries.reverse();
        }
        let furthest = entries.last().map(|entry: &Entry| entry.seq);
        let mut is_full = false;
        for record in entries.into_iter().map(convert::record) {
            is_full = !page.takes(record.encoded_len());
            if is_full {
                break;
            }
            records.push(record);
        }
        match furthest {
            Some(seq) if !is_last && !is_full && page.left() > 0 => {
                range = if upwards { HistoryRange::After(seq) } else { HistoryRange::Before(seq) };
            }
            _ => break,
        }
    }
    if !upwards {
        records.reverse();
    }
    Ok(Answer { records, ..Answer::default() })
}

fn conversations(engine: &Engine, user: &str, query: &ConversationsQuery) -> Result<Answer, Error> {
    let mut cursor = match query.cursor.is_empty() {
        true => None,
        false => Some(Position(u64::from_be_bytes(decode_cursor(&query.cursor)?))),
    };
    let mut page = Page::new(query.limit);
    let mut answer = Answer::default();
    let mut wanted = BODIES_AT_ONCE;
    loop {
        wanted = wanted.min(page.left());
        let read = engine.conversations(user, cursor, wanted)?;
        let views: Vec<_> = read.conversations.into_iter().map(convert::conversation).collect();
        let bytes: usize = views.iter().map(Message::encoded_len).sum();
        if !page.fits(bytes) && views.len() > 1 {
            if page.is_empty() {
                // The first page has something, if only one conversation.
                wanted = views.len() / 2;
                continue;
            }
            break;
        }
        if !page.fits(bytes) && !page.is_empty() {
            break;
        }
        page.add(views.len(), bytes);
        answer.conversations.extend(views);
        answer.unread_total = read.unread_total;
        cursor = read.next;
        if cursor.is_none() || page.left() == 0 {
            break;
        }
    }
    answer.cursor = cursor.map_or(Bytes::new(), |position| Bytes::copy_from_slice(&position.0.to_be_bytes()));
    Ok(answer)
}

fn members(engine: &Engine, speaker: &Speaker, query: &MembersQuery) -> Result<Answer, Error> {
    let mut cursor = match query.cursor.is_empty() {
        true => None,
        false => Some(UserId(u32::from_be_bytes(decode_cursor(&query.cursor)?))),
    };
    let mut wanted = Page::new(query.limit).left();
    loop {
        let read = engine.members(&speaker.caller(), &query.conversation, cursor, wanted)?;
        let members: Vec<_> = read.members.into_iter().map(convert::member).collect();
        // Somebody who came and went thousands of times has as many ranges.
        if members.len() > 1 && members.iter().map(Message::encoded_len).sum::<usize>() > ANSWER_BYTES_MAX {
            wanted = members.len() / 2;
            continue;
        }
        cursor = read.next;
        return Ok(Answer {
            members,
            member_count: read.count,
            cursor: cursor.map_or(Bytes::new(), |user| Bytes::copy_from_slice(&user.0.to_be_bytes())),
            ..Answer::default()
        });
    }
}

fn decode_cursor<const N: usize>(cursor: &[u8]) -> Result<[u8; N], Error> {
    cursor.try_into().map_err(|_| Error::new(Code::InvalidArgument, "the cursor is malformed"))
}

/// How much a page has taken, against its limits of entries and bytes.
struct Page {
    entries_max: usize,
    entries: usize,
    bytes: usize,
}

impl Page {
    /// A page of at most `limit` entries; 0 or above the limit: the limit.
    fn new(limit: u32) -> Self {
        let entries_max = match limit as usize {
            0 => PAGE_ENTRIES_MAX,
            limit => limit.min(PAGE_ENTRIES_MAX),
        };
        Self { entries_max, entries: 0, bytes: 0 }
    }

    fn left(&self) -> usize {
        self.entries_max - self.entries
    }

    fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn fits(&self, bytes: usize) -> bool {
        self.bytes + bytes <= ANSWER_BYTES_MAX
    }

    fn add(&mut self, entries: usize, bytes: usize) {
        self.entries = (self.entries + entries).min(self.entries_max);
        self.bytes += bytes;
    }

    /// Takes an entry, unless it does not fit; the first one always does.
    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.is_empty() || self.fits(bytes);
        if takes {
            self.add(1, bytes);
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_at_entries_and_bytes() {
        assert_eq!(Page::new(0).left(), PAGE_ENTRIES_MAX);
        assert_eq!(Page::new(u32::MAX).left(), PAGE_ENTRIES_MAX);
        let mut page = Page::new(3);
        assert!(page.takes(ANSWER_BYTES_MAX + 1), "the first always fits");
        assert!(!page.takes(1));
        let mut page = Page::new(2);
        assert!(page.takes(1) && page.takes(1));
        assert_eq!(page.left(), 0);
    }

    #[test]
    fn cursors_have_their_length() {
        assert_eq!(decode_cursor::<4>(&[0, 0, 1, 0]).map(u32::from_be_bytes), Ok(256));
        for cursor in [&[0][..], &[0; 5], &[0; 8]] {
            assert!(decode_cursor::<4>(cursor).is_err());
        }
    }
}
