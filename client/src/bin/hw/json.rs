//! Lines for programs: one JSON object each, with the fields in their documented order.

use crate::text::{fanout_name, kind_name, role_name};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use highwater_client::{Change, Content, Conversation, Device, Gap, Member, Range, Receipt, Record};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers can always be written as JSON")
}

/// A record.
pub(crate) fn record(record: &Record) -> String {
    line(&RecordLine(record))
}

struct RecordLine<'a>(&'a Record);

impl Serialize for RecordLine<'_> {
    /// Nobody (the service's author, a group's owner) is the empty string, which no id can be.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("position", &record.position)?;
        map.serialize_entry("conversation", &record.conversation)?;
        if let Some(seq) = record.seq {
            map.serialize_entry("seq", &seq)?;
        }
        map.serialize_entry("kind", kind(&record.content))?;
        map.serialize_entry("from", record.from.as_deref().unwrap_or_default())?;
        map.serialize_entry("device", record.device.as_deref().unwrap_or_default())?;
        map.serialize_entry("time", &record.time_ms)?;
        if record.by_service {
            map.serialize_entry("by", "service")?;
        }
        content(&mut map, &record.content)?;
        map.end()
    }
}

fn kind(content: &Content) -> &'static str {
    match content {
        Content::Message(_) => "message",
        Content::Create { .. } => "create",
        Content::Add { .. } => "add",
        Content::Remove { .. } => "remove",
        Content::Join { .. } => "join",
        Content::Leave { .. } => "leave",
        Content::Role { .. } => "role",
        Content::Edit { .. } => "edit",
        Content::Recall { .. } => "recall",
        Content::Read { .. } => "read",
        Content::Settings { .. } => "settings",
        Content::Mute { .. } => "mute",
        Content::Revoke => "revoke",
        Content::User { .. } => "user",
        Content::Unknown { .. } => "unknown",
    }
}

fn content<M: SerializeMap>(map: &mut M, content: &Content) -> Result<(), M::Error> {
    match content {
        Content::Message(text) => {
            if let Some(sent_at_ms) = text.sent_at_ms {
                map.serialize_entry("sent_at", &sent_at_ms)?;
            }
            body(map, text.body.as_ref())?;
            if let Some(quote) = text.quote {
                map.serialize_entry("quote", &quote)?;
            }
            if !text.mentions.is_empty() {
                map.serialize_entry("mentions", &text.mentions)?;
            }
            if let Some(edited_ms) = text.edited_ms {
                map.serialize_entry("edited", &edited_ms)?;
            }
        }
        Content::Create { kind, owner, members, .. } => {
            map.serialize_entry("type", kind_name(*kind))?;
            map.serialize_entry("owner", owner.as_deref().unwrap_or_default())?;
            map.serialize_entry("members", members)?;
        }
        Content::Add { members }
        | Content::Remove { members }
        | Content::Join { members }
        | Content::Leave { members } => map.serialize_entry("members", members)?,
        Content::Role { user, role } => {
            map.serialize_entry("user", user)?;
            map.serialize_entry("role", role_name(*role))?;
        }
        Content::Edit { target, body: new } => {
            map.serialize_entry("target", target)?;
            body(map, new.as_ref())?;
        }
        Content::Recall { target } => map.serialize_entry("target", target)?,
        Content::Read { through } => map.serialize_entry("through", through)?,
        Content::Settings { open, history, fanout } => {
            map.serialize_entry("open", open)?;
            map.serialize_entry("history", history)?;
            map.serialize_entry("fanout", fanout_name(*fanout))?;
        }
        Content::Mute { muted } => map.serialize_entry("muted", muted)?,
        Content::Revoke => {}
        Content::User { user } => map.serialize_entry("user", user)?,
        Content::Unknown { kind } => map.serialize_entry("number", kind)?,
    }
    Ok(())
}

fn body<M: SerializeMap>(map: &mut M, body: Option<&Bytes>) -> Result<(), M::Error> {
    let Some(bytes) = body else { return map.serialize_entry("recalled", &true) };
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry("text", text),
        Err(_) => map.serialize_entry("body_base64", &STANDARD.encode(bytes)),
    }
}

#[derive(Serialize)]
struct GapLine<'a> {
    kind: &'static str,
    conversation: &'a str,
    from_seq: u64,
    to_seq: u64,
}

/// Messages that were left out.
pub(crate) fn gap(gap: &Gap) -> String {
    line(&GapLine { kind: "gap", conversation: &gap.conversation, from_seq: gap.from_seq, to_seq: gap.to_seq })
}

#[derive(Serialize)]
struct ResetLine<'a> {
    kind: &'static str,
    reason: &'a str,
}

/// A snapshot begins.
pub(crate) fn reset(reason: &str) -> String {
    line(&ResetLine { kind: "reset", reason })
}

#[derive(Serialize)]
struct ConversationLine<'a> {
    kind: &'static str,
    conversation: &'a str,
    r#type: &'static str,
    role: &'static str,
    head: u64,
    read: u64,
    unread: u64,
    muted: bool,
    ranges: Vec<[u64; 2]>,
    last: Option<RecordLine<'a>>,
}

/// A conversation as its member sees it.
pub(crate) fn conversation(conversation: &Conversation) -> String {
    line(&ConversationLine {
        kind: "conversation",
        conversation: &conversation.conversation,
        r#type: kind_name(conversation.kind),
        role: conversation.role.map_or("former", role_name),
        head: conversation.head,
        read: conversation.read,
        unread: conversation.unread,
        muted: conversation.muted,
        ranges: pairs(&conversation.ranges),
        last: conversation.last.as_ref().map(RecordLine),
    })
}

fn pairs(ranges: &[Range]) -> Vec<[u64; 2]> {
    ranges.iter().map(|range| [range.first, range.last]).collect()
}

#[derive(Serialize)]
struct CheckpointLine<'a> {
    kind: &'static str,
    from: u64,
    to: u64,
    checkpoint: &'a str,
    caught_up: bool,
}

/// A delta has been delivered.
pub(crate) fn checkpoint(from: u64, to: u64, checkpoint: &[u8], caught_up: bool) -> String {
    line(&CheckpointLine { kind: "checkpoint", from, to, checkpoint: &STANDARD.encode(checkpoint), caught_up })
}

#[derive(Serialize)]
struct MemberLine<'a> {
    kind: &'static str,
    user: &'a str,
    role: &'static str,
    ranges: Vec<[u64; 2]>,
}

/// A member of a conversation.
pub(crate) fn member(member: &Member) -> String {
    let role = member.role.map_or("former", role_name);
    line(&MemberLine { kind: "member", user: &member.user, role, ranges: pairs(&member.ranges) })
}

#[derive(Serialize)]
struct DeviceLine<'a> {
    kind: &'static str,
    device: &'a str,
    client_seq: u64,
    position: u64,
    last_seen: u64,
}

/// A registered device.
pub(crate) fn device(device: &Device) -> String {
    line(&DeviceLine {
        kind: "device",
        device: &device.device,
        client_seq: device.client_seq,
        position: device.position,
        last_seen: device.last_seen_ms,
    })
}

#[derive(Serialize)]
struct ReceiptLine<'a> {
    kind: &'static str,
    conversation: &'a str,
    seq: u64,
    position: u64,
    time: u64,
    client_seq: u64,
    repeated: bool,
}

/// A send's receipt.
pub(crate) fn receipt(receipt: &Receipt) -> String {
    line(&ReceiptLine {
        kind: "receipt",
        conversation: &receipt.conversation,
        seq: receipt.seq,
        position: receipt.position,
        time: receipt.time_ms,
        client_seq: receipt.client_seq,
        repeated: receipt.repeated,
    })
}

#[derive(Serialize)]
struct UnchangedLine<'a> {
    kind: &'static str,
    conversation: &'a str,
}

/// What a command has changed.
pub(crate) fn change(change: &Change) -> String {
    match change {
        Change::Changed(changed) => record(changed),
        Change::Unchanged { conversation } => line(&UnchangedLine { kind: "unchanged", conversation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_client::Text;
    use highwater_proto::record::{Fanout, Kind, Role};

    fn made(seq: Option<u64>, content: Content) -> Record {
        Record {
            position: 7,
            conversation: "team \"x\"".to_owned(),
            seq,
            from: Some("ann".to_owned()),
            device: Some("cli".to_owned()),
            time_ms: 5,
            by_service: false,
            content,
        }
    }

    fn check(made: &Record, rest: &str) {
        let seq = made.seq.map(|seq| format!(r#""seq":{seq},"#)).unwrap_or_default();
        let head = format!(r#"{{"position":7,"conversation":"team \"x\"",{seq}"#);
        assert_eq!(record(made), format!("{head}{rest}}}"));
    }

    #[test]
    fn records_have_the_documented_form() {
        let text = Text { body: Some(Bytes::from(" hi\n")), ..Text::default() };
        let by = r#""from":"ann","device":"cli","time":5"#;
        check(&made(Some(2), Content::Message(text.clone())), &format!(r#""kind":"message",{by},"text":" hi\n""#));
        let full =
            Text { sent_at_ms: Some(1), quote: Some(1), mentions: vec!["bob".to_owned()], edited_ms: Some(6), ..text };
        check(
            &made(Some(2), Content::Message(full)),
            &format!(r#""kind":"message",{by},"sent_at":1,"text":" hi\n","quote":1,"mentions":["bob"],"edited":6"#),
        );
        let binary = Text { body: Some(Bytes::from_static(&[0xff, 0])), ..Text::default() };
        check(&made(Some(2), Content::Message(binary)), &format!(r#""kind":"message",{by},"body_base64":"/wA=""#));
        check(&made(Some(2), Content::Message(Text::default())), &format!(r#""kind":"message",{by},"recalled":true"#));
        let members = vec!["bob".to_owned()];
        check(
            &made(
                Some(1),
                Content::Create {
                    kind: Kind::Group,
                    owner: None,
                    members: members.clone(),
                    open: false,
                    history: true,
                },
            ),
            &format!(r#""kind":"create",{by},"type":"group","owner":"","members":["bob"]"#),
        );
        check(&made(None, Content::Add { members }), &format!(r#""kind":"add",{by},"members":["bob"]"#));
        check(
            &made(Some(3), Content::Role { user: "bob".to_owned(), role: Role::Admin }),
            &format!(r#""kind":"role",{by},"user":"bob","role":"admin""#),
        );
        check(
            &made(Some(4), Content::Edit { target: 2, body: Some(Bytes::from("new")) }),
            &format!(r#""kind":"edit",{by},"target":2,"text":"new""#),
        );
        check(&made(Some(4), Content::Recall { target: 2 }), &format!(r#""kind":"recall",{by},"target":2"#));
        check(&made(None, Content::Read { through: 3 }), &format!(r#""kind":"read",{by},"through":3"#));
        check(
            &made(Some(4), Content::Settings { open: true, history: false, fanout: Fanout::Read }),
            &format!(r#""kind":"settings",{by},"open":true,"history":false,"fanout":"read""#),
        );
    }

    #[test]
    fn what_the_service_made_says_so() {
        let mut added = made(Some(2), Content::Add { members: Vec::new() });
        (added.by_service, added.from, added.device) = (true, None, None);
        check(&added, r#""kind":"add","from":"","device":"","time":5,"by":"service","members":[]"#);
    }

    #[test]
    fn other_lines_have_the_documented_form() {
        let left_out = Gap { conversation: "c".to_owned(), from_seq: 2, to_seq: 9 };
        assert_eq!(gap(&left_out), r#"{"kind":"gap","conversation":"c","from_seq":2,"to_seq":9}"#);
        assert_eq!(reset("epoch"), r#"{"kind":"reset","reason":"epoch"}"#);
        let expected = r#"{"kind":"checkpoint","from":1,"to":2,"checkpoint":"AQI=","caught_up":true}"#;
        assert_eq!(checkpoint(1, 2, &[1, 2], true), expected);
        let listed = Conversation {
            conversation: "c".to_owned(),
            kind: Kind::Channel,
            role: Some(Role::Member),
            head: 4,
            read: 3,
            unread: 1,
            muted: false,
            ranges: vec![Range { first: 1, last: 2 }, Range { first: 4, last: 4 }],
            last: Some(made(Some(4), Content::Join { members: Vec::new() })),
        };
        let expected = concat!(
            r#"{"kind":"conversation","conversation":"c","type":"channel","role":"member","head":4,"read":3,"unread":1,"#,
            r#""muted":false,"ranges":[[1,2],[4,4]],"last":{"position":7,"conversation":"team \"x\"","seq":4,"#,
            r#""kind":"join","from":"ann","device":"cli","time":5,"members":[]}}"#
        );
        assert_eq!(conversation(&listed), expected);
        let is_member = Member { user: "u".to_owned(), role: Some(Role::Owner), ranges: Vec::new() };
        assert_eq!(member(&is_member), r#"{"kind":"member","user":"u","role":"owner","ranges":[]}"#);
        let registered = Device { device: "d".to_owned(), client_seq: 1, position: 2, last_seen_ms: 3 };
        let expected = r#"{"kind":"device","device":"d","client_seq":1,"position":2,"last_seen":3}"#;
        assert_eq!(device(&registered), expected);
        let accepted =
            Receipt { conversation: "c".to_owned(), seq: 1, position: 2, time_ms: 3, client_seq: 4, repeated: false };
        let expected =
            r#"{"kind":"receipt","conversation":"c","seq":1,"position":2,"time":3,"client_seq":4,"repeated":false}"#;
        assert_eq!(receipt(&accepted), expected);
        let unchanged = Change::Unchanged { conversation: "c".to_owned() };
        assert_eq!(change(&unchanged), r#"{"kind":"unchanged","conversation":"c"}"#);
    }
}
