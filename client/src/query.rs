//! Questions: each on a stream of its own, so that a long answer delays nothing else.

use crate::client::Client;
use crate::command::Page;
use crate::link::{Link, READ_BYTES, broken, read_failed, write_failed};
use crate::model::{Conversation, ConversationsPage, Device, Member, MembersPage, Record};
use bytes::{Bytes, BytesMut};
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::{self, FrameReader, encode_frame, query};

impl Client {
    /// Records of a conversation by ascending seq, with edits and recalls applied; at most `limit` and 500 of them, 0
    /// for the most. A page may be shorter than asked for although there is more: the server also bounds its bytes.
    ///
    /// # Errors
    /// Of all queries, here and below: `not_found` for what the user may not see; `unreachable` if no answer came within
    /// [`ClientBuilder::command_timeout`](crate::ClientBuilder::command_timeout); why the client closed.
    pub async fn history(&self, conversation: &str, page: Page, limit: u32) -> Result<Vec<Record>, Error> {
        let (before, after) = match page {
            Page::Newest => (None, None),
            Page::Before(seq) => (Some(seq), None),
            Page::After(seq) => (None, Some(seq)),
        };
        let conversation = conversation.to_owned();
        let query = wire::HistoryQuery { conversation, before, after, limit };
        let answer = self.query(query::Call::History(query)).await?;
        answer.records.into_iter().map(Record::try_from).collect()
    }

    /// A page of the user's conversations, the most recent first; at most `limit` and 500 of them, 0 for the most.
    ///
    /// # Errors
    /// See [`history`](Self::history).
    pub async fn conversations(&self, limit: u32, cursor: Option<Bytes>) -> Result<ConversationsPage, Error> {
        let query = wire::ConversationsQuery { limit, cursor: cursor.unwrap_or_default() };
        let answer = self.query(query::Call::Conversations(query)).await?;
        Ok(ConversationsPage {
            conversations: answer.conversations.into_iter().map(Conversation::try_from).collect::<Result<_, _>>()?,
            unread_total: answer.unread_total,
            cursor: (!answer.cursor.is_empty()).then_some(answer.cursor),
        })
    }

    /// A page of a conversation's members; at most `limit` and 500 of them, 0 for the most.
    ///
    /// # Errors
    /// See [`history`](Self::history).
    pub async fn members(&self, conversation: &str, limit: u32, cursor: Option<Bytes>) -> Result<MembersPage, Error> {
        let conversation = conversation.to_owned();
        let query = wire::MembersQuery { conversation, limit, cursor: cursor.unwrap_or_default() };
        let answer = self.query(query::Call::Members(query)).await?;
        Ok(MembersPage {
            members: answer.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?,
            member_count: answer.member_count,
            cursor: (!answer.cursor.is_empty()).then_some(answer.cursor),
        })
    }

    /// The user's registered devices.
    ///
    /// # Errors
    /// See [`history`](Self::history).
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        let answer = self.query(query::Call::Devices(wire::DevicesQuery {})).await?;
        Ok(answer.devices.into_iter().map(Device::from).collect())
    }

    /// Asks until a connection holds long enough for the answer: questions change nothing.
    async fn query(&self, call: query::Call) -> Result<wire::Answer, Error> {
        let query = wire::Query { call: Some(call) };
        let timeout = self.config().command_timeout;
        let asking = async {
            loop {
                let link = self.link().await?;
                match ask(&link, &query).await {
                    // The next link is another one: this one's connection is closed.
                    Err(_) if link.connection.close_reason().is_some() => {}
                    answer => return answer,
                }
            }
        };
        match tokio::time::timeout(timeout, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(Code::Unreachable, "no answer came in time")),
        }
    }
}

async fn ask(link: &Link, query: &wire::Query) -> Result<wire::Answer, Error> {
    let (mut send, mut recv) = link.connection.open_bi().await.map_err(|error| broken(&error))?;
    let mut out = BytesMut::new();
    encode_frame(query, &mut out)?;
    let written = send.write_all(&out).await;
    if written.is_ok() {
        // It can only have been finished before, which it was not.
        send.finish().unwrap_or(());
    }
    let mut frames = FrameReader::new();
    let answer: wire::Answer = loop {
        if let Some(answer) = frames.next()? {
            break answer;
        }
        match recv.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => frames.push(&chunk.bytes),
            Ok(None) => return Err(Error::new(Code::Protocol, "the server ended a query without an answer")),
            Err(error) => return Err(written.err().map_or_else(|| read_failed(&error), |error| write_failed(&error))),
        }
    };
    match answer.failure {
        Some(failure) => Err(failure.into()),
        None => Ok(answer),
    }
}
