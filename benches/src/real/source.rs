//! A data set in memory: who is in which conversation, and what was said in which order.
//!
//! Bodies are slices of one buffer, so that what the source takes in memory is about its size.

use crate::context::Failure;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A data set.
#[derive(Default)]
pub(super) struct Source {
    pub(super) users: Vec<String>,
    pub(super) conversations: Vec<Conversation>,
    pub(super) messages: Vec<Message>,
    /// Lines that are no messages: comings, goings and renamings, which the members file stands for.
    pub(super) events_left_out: u64,
    /// Messages with a body above the limit.
    pub(super) too_large: u64,
}

/// A conversation.
pub(super) struct Conversation {
    pub(super) id: String,
    pub(super) members: Vec<u32>,
}

/// A message.
pub(super) struct Message {
    pub(super) conversation: u32,
    pub(super) author: u32,
    pub(super) sent_at_ms: Option<u64>,
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
struct MembersLine {
    conv: String,
    members: Vec<String>,
}

#[derive(Deserialize)]
struct EventLine {
    conv: String,
    from: String,
    t: Option<u64>,
    #[serde(default)]
    text: String,
    ev: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct FollowersLine {
    author: u64,
    followers: Vec<u64>,
}

/// Numbers names in the order of their first appearance.
#[derive(Default)]
struct Numbers {
    of: HashMap<String, u32>,
    names: Vec<String>,
}

impl Numbers {
    fn number(&mut self, name: String) -> u32 {
        if let Some(number) = self.of.get(&name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.of.insert(name.clone(), number);
        self.names.push(name);
        number
    }
}

/// A message whose body is a range of the buffer.
type Raw = (u32, u32, Option<u64>, std::ops::Range<usize>);

impl Source {
    /// Reads `members.jsonl.zst` and `events.jsonl.zst` of a directory.
    pub(super) fn conversations(directory: &Path, body_bytes_max: usize) -> Result<Self, Failure> {
        let (mut source, mut users) = (Self::default(), Numbers::default());
        let mut numbers: HashMap<String, u32> = HashMap::new();
        each_line(&directory.join("members.jsonl.zst"), |line| {
            let MembersLine { conv, members } = serde_json::from_slice(line)?;
            let mut members: Vec<u32> = members.into_iter().map(|member| users.number(member)).collect();
            members.sort_unstable();
            members.dedup();
            numbers.insert(conv.clone(), source.conversations.len() as u32);
            source.conversations.push(Conversation { id: conv, members });
            Ok(())
        })?;
        let (mut text, mut raw): (Vec<u8>, Vec<Raw>) = Default::default();
        each_line(&directory.join("events.jsonl.zst"), |line| {
            let event: EventLine = serde_json::from_slice(line)?;
            if event.ev.is_some() {
                source.events_left_out += 1;
                return Ok(());
            }
            if event.text.len() > body_bytes_max {
                source.too_large += 1;
                return Ok(());
            }
            let conversation = *numbers.get(&event.conv).ok_or("a message names a conversation without members")?;
            let author = users.number(event.from);
            let from = text.len();
            text.extend_from_slice(event.text.as_bytes());
            raw.push((conversation, author, event.t, from..text.len()));
            Ok(())
        })?;
        let text = Bytes::from(text);
        source.messages = raw
            .into_iter()
            .map(|(conversation, author, sent_at_ms, body)| Message {
                conversation,
                author,
                sent_at_ms,
                body: text.slice(body),
            })
            .collect();
        source.users = users.names;
        Ok(source)
    }

    /// Reads `followers.jsonl.zst` of a directory, at most so many authors: a channel each, and one post.
    pub(super) fn followers(directory: &Path, authors_max: usize) -> Result<Self, Failure> {
        let (mut source, mut users) = (Self::default(), Numbers::default());
        each_line(&directory.join("followers.jsonl.zst"), |line| {
            if source.conversations.len() >= authors_max {
                return Ok(());
            }
            let FollowersLine { author, followers } = serde_json::from_slice(line)?;
            let number = users.number(author.to_string());
            // The owner stands first.
            let mut members = vec![number];
            members.extend(followers.into_iter().map(|follower| users.number(follower.to_string())));
            source.messages.push(Message {
                conversation: source.conversations.len() as u32,
                author: number,
                sent_at_ms: None,
                body: Bytes::from_static(&[b'x'; 200]),
            });
            source.conversations.push(Conversation { id: format!("by-{author}"), members });
            Ok(())
        })?;
        source.users = users.names;
        Ok(source)
    }

    /// Messages in timelines of members, their authors' included.
    pub(super) fn deliveries(&self) -> u64 {
        let members = |message: &Message| self.conversations[message.conversation as usize].members.len() as u64;
        self.messages.iter().map(members).sum()
    }

    /// Bytes of all bodies.
    pub(super) fn body_bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.body.len() as u64).sum()
    }
}

fn each_line(path: &Path, mut each: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines = BufReader::new(zstd::Decoder::new(file)?);
    let (mut line, mut number) = (Vec::new(), 0);
    while lines.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        each(&line).map_err(|error| format!("{}, line {number}: {error}", path.display()))?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, lines: &str) {
        let packed = zstd::encode_all(lines.as_bytes(), 1).expect("it compresses");
        std::fs::write(directory.join(name), packed).expect("it is written");
    }

    #[test]
    fn messages_are_read_and_comings_and_goings_left_out() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        write(directory.path(), "members.jsonl.zst", "{\"conv\":\"c\",\"members\":[\"a\",\"b\",\"a\"]}\n");
        let events = [
            r#"{"t":1,"conv":"c","from":"b","text":"one","to":["a"]}"#,
            r#"{"t":2,"conv":"c","from":"a","ev":"nick","to":"d"}"#,
            r#"{"t":3,"conv":"c","from":"a"}"#,
            r#"{"t":4,"conv":"c","from":"a","text":"too long"}"#,
        ];
        write(directory.path(), "events.jsonl.zst", &events.join("\n"));
        let source = Source::conversations(directory.path(), 5).expect("it is readable");
        let bodies: Vec<&[u8]> = source.messages.iter().map(|message| &message.body[..]).collect();
        assert_eq!(bodies, [&b"one"[..], b""]);
        assert_eq!((source.events_left_out, source.too_large, source.deliveries()), (1, 1, 4));
        assert_eq!(source.users[source.messages[0].author as usize], "b");
    }

    #[test]
    fn an_author_follows_its_own_channel() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lines = "{\"author\":7,\"followers\":[1,3]}\n{\"author\":1,\"followers\":[7]}\n";
        write(directory.path(), "followers.jsonl.zst", lines);
        let source = Source::followers(directory.path(), 10).expect("it is readable");
        assert_eq!(source.users, ["7", "1", "3"]);
        assert_eq!(source.conversations[1].members, [1, 0]);
        assert_eq!((source.messages.len(), source.deliveries()), (2, 5));
    }
}
