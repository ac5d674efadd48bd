//! Reads a data set: who is in which conversation, and what was said, in the order in which it was said.
//!
//! The files come from outside and may hold anything: whatever does not fit is refused with the file and the line.
//! Fields that are not known are ignored, as are conversations beyond the first N; lines with `ev` are counted only.

use crate::failure::Failure;
use bytes::Bytes;
use highwater_proto::id::{DIRECT_PREFIX, check_name};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// How a Zstandard frame begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A data set in memory. Users and conversations are numbered in the order of their first appearance.
#[derive(Debug)]
pub(crate) struct Source {
    /// The device that its messages are sent from: the same for the same files and the same choice.
    pub(crate) device: String,
    /// Chooses the users that are verified: the same for the same files and the same choice.
    pub(crate) seed: u64,
    /// Names of users.
    pub(crate) users: Vec<String>,
    /// The chosen conversations, in the order of the members file.
    pub(crate) conversations: Vec<Conversation>,
    /// Their messages, in the order of the events file.
    pub(crate) messages: Vec<Message>,
    /// Lines that are not messages.
    pub(crate) skipped: u64,
}

/// A conversation of the source.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// Its id, byte for byte.
    pub(crate) id: String,
    /// Its members' numbers, without doubles, in source order.
    pub(crate) members: Vec<u32>,
}

/// A message of the source.
#[derive(Debug)]
pub(crate) struct Message {
    /// The author's number.
    pub(crate) author: u32,
    /// The conversation's number.
    pub(crate) conversation: u32,
    /// The source's time, in ms since 1970, if it has one.
    pub(crate) sent_at_ms: Option<u64>,
    /// The bytes of its text.
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
struct MembersLine {
    conv: String,
    members: Vec<String>,
}

#[derive(Deserialize)]
struct EventLine {
    conv: Option<String>,
    from: Option<String>,
    t: Option<u64>,
    text: Option<String>,
    ev: Option<IgnoredAny>,
}

impl Source {
    /// Reads both files, plain or compressed with Zstandard, and keeps the first `conversations_max` conversations.
    pub(crate) fn read(events: &Path, members: &Path, conversations_max: Option<usize>) -> Result<Self, Failure> {
        let mut reader = Reader::default();
        let members_hash = each_line(members, |line| reader.members_line(line, conversations_max))?;
        let events_hash = each_line(events, |line| reader.event_line(line))?;
        let mut hash = Sha256::new();
        hash.update(events_hash);
        hash.update(members_hash);
        hash.update((reader.conversations.len() as u64).to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let head = u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|index| digest[index]));
        Ok(Self {
            device: format!("replay-{:08x}", head >> 32),
            seed: head,
            users: reader.users,
            conversations: reader.conversations,
            messages: reader.messages,
            skipped: reader.skipped,
        })
    }
}

#[derive(Default)]
struct Reader {
    users: Vec<String>,
    user_numbers: HashMap<String, u32>,
    conversations: Vec<Conversation>,
    /// `None`: known, but not chosen.
    conversation_numbers: HashMap<String, Option<u32>>,
    /// Who is in which chosen conversation.
    memberships: HashSet<(u32, u32)>,
    messages: Vec<Message>,
    skipped: u64,
}

impl Reader {
    fn members_line(&mut self, line: &[u8], conversations_max: Option<usize>) -> Result<(), String> {
        let line: MembersLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        check_name("conv", &line.conv).map_err(|error| error.message)?;
        if line.conv.starts_with(DIRECT_PREFIX) {
            return Err(format!("conv begins with {DIRECT_PREFIX:?}, which is kept for direct conversations"));
        }
        if self.conversation_numbers.contains_key(&line.conv) {
            return Err(format!("the conversation {:?} is there twice", line.conv));
        }
        if conversations_max.is_some_and(|most| self.conversations.len() >= most) {
            self.conversation_numbers.insert(line.conv, None);
            return Ok(());
        }
        let number = to_number(self.conversations.len())?;
        let mut members = Vec::with_capacity(line.members.len());
        for name in line.members {
            let user = self.user(name, "members")?;
            if self.memberships.insert((number, user)) {
                members.push(user);
            }
        }
        self.conversation_numbers.insert(line.conv.clone(), Some(number));
        self.conversations.push(Conversation { id: line.conv, members });
        Ok(())
    }

    fn event_line(&mut self, line: &[u8]) -> Result<(), String> {
        let line: EventLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if line.ev.is_some() {
            self.skipped += 1;
            return Ok(());
        }
        let name = line.conv.ok_or("a message without conv")?;
        let author = line.from.ok_or("a message without from")?;
        let conversation = match self.conversation_numbers.get(&name) {
            Some(Some(number)) => *number,
            Some(None) => return Ok(()),
            None => return Err(format!("the conversation {name:?} is not in the members file")),
        };
        let Some(user) = self.user_numbers.get(&author).copied() else {
            return Err(format!("the author {author:?} is not a member of {name:?}"));
        };
        if !self.memberships.contains(&(conversation, user)) {
            return Err(format!("the author {author:?} is not a member of {name:?}"));
        }
        to_number(self.messages.len())?;
        self.messages.push(Message {
            author: user,
            conversation,
            sent_at_ms: line.t,
            body: Bytes::from(line.text.unwrap_or_default()),
        });
        Ok(())
    }

    fn user(&mut self, name: String, what: &str) -> Result<u32, String> {
        if let Some(number) = self.user_numbers.get(&name) {
            return Ok(*number);
        }
        check_name(what, &name).map_err(|error| error.message)?;
        let number = to_number(self.users.len())?;
        self.users.push(name.clone());
        self.user_numbers.insert(name, number);
        Ok(number)
    }
}

/// Numbers are 32 bits wide, which bounds a data set at four thousand million of everything.
fn to_number(count: usize) -> Result<u32, String> {
    u32::try_from(count).map_err(|_| format!("the data set is too large: {count} of one kind"))
}

/// Calls `take` with every line that is not blank, and answers with the hash of the whole (uncompressed) content.
fn each_line(path: &Path, mut take: impl FnMut(&[u8]) -> Result<(), String>) -> Result<[u8; 32], Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("{}: {error}", path.display()));
    let mut reader = open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let at = |message: &str| Failure::invalid(format!("{}: line {number}: {message}", path.display()));
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::io(format!("{}: line {number}: {error}", path.display())))?;
        if read == 0 {
            break;
        }
        hash.update(&line);
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read as u64 == LINE_BYTES_MAX {
            return Err(at(&format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            take(&line).map_err(|message| at(&message))?;
        }
    }
    Ok(hash.finalize().into())
}

/// Opens a file; its first bytes, not its name, tell whether it is compressed.
fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::with_capacity(ZSTD_MAGIC.len());
    file.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic)?;
    file.rewind()?;
    if magic == ZSTD_MAGIC {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, zstd::Decoder::new(file)?)));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MEMBERS: &str = concat!(
        r#"{"conv":"a # b","members":["x","Y y","x"],"present0":[]}"#,
        "\n",
        r#"{"conv":"A # b","members":["y"]}"#,
        "\n"
    );

    fn write(text: &str, compressed: bool) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let bytes = if compressed {
            zstd::encode_all(text.as_bytes(), 3).expect("compresses")
        } else {
            text.as_bytes().to_vec()
        };
        file.write_all(&bytes).expect("writes");
        file
    }

    fn read(events: &str, most: Option<usize>, compressed: bool) -> Result<Source, Failure> {
        let (events, members) = (write(events, compressed), write(MEMBERS, compressed));
        Source::read(events.path(), members.path(), most)
    }

    #[test]
    fn bytes_are_kept_and_unknown_fields_ignored() {
        let events = concat!(
            r#"{"t":5,"conv":"a # b","from":"x","text":" \u0000é ","topic":"z","to":["Y y"],"act":1}"#,
            "\n\n",
            r#"{"t":6,"conv":"a # b","from":"x","ev":"nick","to":"new"}"#,
            "\n",
            r#"{"conv":"a # b","from":"Y y"}"#,
            "\n",
            r#"{"t":7,"conv":"A # b","from":"y","text":""}"#,
        );
        for compressed in [false, true] {
            let source = read(events, None, compressed).expect("is read");
            assert_eq!(source.skipped, 1);
            assert_eq!(source.users, ["x", "Y y", "y"]);
            assert_eq!(source.conversations[0].members, [0, 1]);
            let seen: Vec<_> =
                source.messages.iter().map(|m| (m.author, m.conversation, m.sent_at_ms, m.body.as_ref())).collect();
            let expected: [(u32, u32, Option<u64>, &[u8]); 3] =
                [(0, 0, Some(5), " \0é ".as_bytes()), (1, 0, None, b""), (2, 1, Some(7), b"")];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_device_depends_on_content_and_choice_alone() {
        let events = r#"{"t":5,"conv":"a # b","from":"x"}"#;
        let device = |events: &str, most, compressed| read(events, most, compressed).expect("is read").device;
        let first = device(events, None, false);
        assert_eq!(first.len(), "replay-".len() + 8);
        assert_eq!(first, device(events, None, true));
        assert_eq!(first, device(events, Some(9), false));
        assert_ne!(first, device(events, Some(1), false));
        assert_ne!(first, device(&events.replace('5', "6"), None, false));
    }

    #[test]
    fn conversations_beyond_the_first_are_left_out() {
        let source = read(r#"{"t":5,"conv":"A # b","from":"y"}"#, Some(1), false).expect("is read");
        assert_eq!((source.conversations.len(), source.messages.len(), source.users.len()), (1, 0, 2));
    }

    #[test]
    fn errors_name_the_line() {
        let good = r#"{"t":5,"conv":"a # b","from":"x"}"#;
        for (bad, said) in [
            ("{", "EOF"),
            ("[1]", "invalid"),
            (r#"{"t":-1,"conv":"a # b","from":"x"}"#, "-1"),
            (r#"{"t":1,"from":"x"}"#, "without conv"),
            (r#"{"t":1,"conv":"a # b"}"#, "without from"),
            (r#"{"t":1,"conv":"nowhere","from":"x"}"#, "not in the members file"),
            (r#"{"t":1,"conv":"a # b","from":"y"}"#, "not a member"),
            (r#"{"t":1,"conv":"a # b","from":"nobody"}"#, "not a member"),
            (r#"{"t":1,"conv":"a # b","from":"x","text":"\ud800"}"#, "hex escape"),
        ] {
            let failure = read(&format!("{good}\n{bad}\n"), None, false).expect_err(bad);
            assert!(failure.message().contains("line 2: "), "{}", failure.message());
            assert!(failure.message().contains(said), "{}", failure.message());
        }
    }
}
