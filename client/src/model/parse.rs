//! From the wire's types to ours, and the numbers of the few that go the other way.

use super::{Content, Conversation, Device, Gap, Member, Range, Receipt, Record, Text};
use highwater_proto::error::{Code, Error};
use highwater_proto::record::{Fanout, Kind, Role};
use highwater_proto::wire;

fn absurd(field: &str, value: impl std::fmt::Display) -> Error {
    Error::new(Code::Protocol, format!("the server sent {field} {value}, which this client does not know"))
}

fn non_empty(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

fn kind_from_wire(kind: u32) -> Result<Kind, Error> {
    match kind {
        1 => Ok(Kind::Direct),
        2 => Ok(Kind::Group),
        3 => Ok(Kind::Channel),
        _ => Err(absurd("conversation kind", kind)),
    }
}

pub(crate) fn kind_to_wire(kind: Kind) -> u32 {
    match kind {
        Kind::Direct => 1,
        Kind::Group => 2,
        Kind::Channel => 3,
    }
}

fn role_from_wire(role: u32) -> Result<Option<Role>, Error> {
    match role {
        0 => Ok(None),
        1 => Ok(Some(Role::Member)),
        2 => Ok(Some(Role::Admin)),
        3 => Ok(Some(Role::Owner)),
        _ => Err(absurd("role", role)),
    }
}

pub(crate) fn role_to_wire(role: Role) -> u32 {
    match role {
        Role::Member => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

fn fanout_from_wire(fanout: u32) -> Result<Fanout, Error> {
    match fanout {
        // Older records of settings may lack it.
        0 | 1 => Ok(Fanout::Auto),
        2 => Ok(Fanout::Write),
        3 => Ok(Fanout::Read),
        _ => Err(absurd("fan-out", fanout)),
    }
}

pub(crate) fn fanout_to_wire(fanout: Fanout) -> u32 {
    match fanout {
        Fanout::Auto => 1,
        Fanout::Write => 2,
        Fanout::Read => 3,
    }
}

impl Content {
    fn parse(record: &mut wire::Record) -> Result<Self, Error> {
        let members = std::mem::take(&mut record.members);
        let body = (!record.recalled).then(|| std::mem::take(&mut record.body));
        Ok(match record.kind {
            wire::kind::MESSAGE => Content::Message(Text {
                body,
                sent_at_ms: record.sent_at_ms,
                quote: record.quote,
                mentions: std::mem::take(&mut record.mentions),
                edited_ms: record.edited_ms,
            }),
            wire::kind::CREATE => Content::Create {
                kind: kind_from_wire(record.conversation_kind)?,
                owner: non_empty(std::mem::take(&mut record.owner)),
                members,
                open: record.open,
                history: record.history,
            },
            wire::kind::ADD => Content::Add { members },
            wire::kind::REMOVE => Content::Remove { members },
            wire::kind::JOIN => Content::Join { members },
            wire::kind::LEAVE => Content::Leave { members },
            wire::kind::ROLE => Content::Role {
                user: std::mem::take(&mut record.user),
                role: role_from_wire(record.role)?.ok_or_else(|| absurd("role", 0))?,
            },
            wire::kind::EDIT => Content::Edit { target: record.target, body },
            wire::kind::RECALL => Content::Recall { target: record.target },
            wire::kind::READ => Content::Read { through: record.through },
            wire::kind::SETTINGS => Content::Settings {
                open: record.open,
                history: record.history,
                fanout: fanout_from_wire(record.fanout)?,
            },
            wire::kind::MUTE => Content::Mute { muted: record.muted },
            wire::kind::REVOKE => Content::Revoke,
            wire::kind::USER => Content::User { user: std::mem::take(&mut record.user) },
            kind => Content::Unknown { kind },
        })
    }
}

impl TryFrom<wire::Record> for Record {
    type Error = Error;

    fn try_from(mut record: wire::Record) -> Result<Self, Error> {
        if record.position == 0 {
            return Err(no_position());
        }
        let content = Content::parse(&mut record)?;
        Ok(Self {
            position: record.position,
            conversation: record.conversation,
            seq: (record.seq != 0).then_some(record.seq),
            from: non_empty(record.from),
            device: non_empty(record.device),
            time_ms: record.time_ms,
            by_service: record.by_service,
            content,
        })
    }
}

impl<'a> TryFrom<wire::ReceivedRecord<'a>> for Record {
    type Error = Error;

    fn try_from(record: wire::ReceivedRecord<'a>) -> Result<Self, Error> {
        match record {
            wire::ReceivedRecord::Message(message) => message.try_into(),
            wire::ReceivedRecord::Other(record) => (*record).try_into(),
        }
    }
}

impl<'a> TryFrom<wire::MessageRecord<'a>> for Record {
    type Error = Error;

    fn try_from(message: wire::MessageRecord<'a>) -> Result<Self, Error> {
        if message.position == 0 {
            return Err(no_position());
        }
        let text = Text {
            body: (!message.recalled).then_some(message.body),
            sent_at_ms: message.sent_at_ms,
            quote: message.quote,
            mentions: Vec::new(),
            edited_ms: message.edited_ms,
        };
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Ok(Self {
            position: message.position,
            conversation: message.conversation.to_owned(),
            seq: (message.seq != 0).then_some(message.seq),
            from: name(message.from),
            device: name(message.device),
            time_ms: message.time_ms,
            by_service: message.by_service,
            content: Content::Message(text),
        })
    }
}

fn no_position() -> Error {
    Error::new(Code::Protocol, "the server sent a record without a position")
}

impl From<wire::Gap> for Gap {
    fn from(gap: wire::Gap) -> Self {
        Self { conversation: gap.conversation, from_seq: gap.from_seq, to_seq: gap.to_seq }
    }
}

fn ranges(ranges: &[wire::Range]) -> Vec<Range> {
    ranges.iter().map(|range| Range { first: range.first, last: range.last }).collect()
}

impl TryFrom<wire::Conversation> for Conversation {
    type Error = Error;

    fn try_from(conversation: wire::Conversation) -> Result<Self, Error> {
        Ok(Self {
            kind: kind_from_wire(conversation.kind)?,
            role: role_from_wire(conversation.role)?,
            head: conversation.head,
            read: conversation.read,
            unread: conversation.unread,
            muted: conversation.muted,
            ranges: ranges(&conversation.ranges),
            last: conversation.last.map(Record::try_from).transpose()?,
            conversation: conversation.conversation,
        })
    }
}

impl TryFrom<wire::Member> for Member {
    type Error = Error;

    fn try_from(member: wire::Member) -> Result<Self, Error> {
        Ok(Self { role: role_from_wire(member.role)?, ranges: ranges(&member.ranges), user: member.user })
    }
}

impl From<wire::Device> for Device {
    fn from(device: wire::Device) -> Self {
        Self {
            device: device.device,
            client_seq: device.client_seq,
            position: device.position,
            last_seen_ms: device.last_seen_ms,
        }
    }
}

impl From<wire::Receipt> for Receipt {
    fn from(receipt: wire::Receipt) -> Self {
        Self {
            conversation: receipt.conversation,
            seq: receipt.seq,
            position: receipt.position,
            time_ms: receipt.time_ms,
            client_seq: receipt.client_seq,
            repeated: receipt.repeated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_numbers_are_the_servers_fault_and_unknown_kinds_are_not() {
        let record = |kind| wire::Record { position: 1, kind, ..Default::default() };
        let code = |record: wire::Record| Record::try_from(record).map_err(|error| error.code);
        for absurd in [
            wire::Record { position: 0, ..record(wire::kind::MESSAGE) },
            wire::Record { conversation_kind: 9, ..record(wire::kind::CREATE) },
            record(wire::kind::CREATE),
            record(wire::kind::ROLE),
            wire::Record { role: 4, ..record(wire::kind::ROLE) },
            wire::Record { fanout: 4, ..record(wire::kind::SETTINGS) },
        ] {
            assert_eq!(code(absurd.clone()), Err(Code::Protocol), "{absurd:?}");
        }
        assert_eq!(code(record(99)).map(|record| record.content), Ok(Content::Unknown { kind: 99 }));
    }

    #[test]
    fn what_was_recalled_has_no_body_and_an_empty_body_is_one() {
        for kind in [wire::kind::MESSAGE, wire::kind::EDIT] {
            for recalled in [false, true] {
                let record =
                    wire::Record { position: 1, kind, recalled, body: "left over".into(), ..Default::default() };
                let body = match Record::try_from(record).map(|record| record.content) {
                    Ok(Content::Message(text)) => text.body,
                    Ok(Content::Edit { body, .. }) => body,
                    content => panic!("{content:?} has no body"),
                };
                assert_eq!(body.is_none(), recalled);
            }
        }
        let empty = wire::Record { position: 1, kind: wire::kind::MESSAGE, ..Default::default() };
        let Ok(Content::Message(text)) = Record::try_from(empty).map(|record| record.content) else { panic!() };
        assert_eq!(text.body.as_deref(), Some(&[][..]));
    }

    #[test]
    fn numbers_go_both_ways() {
        for kind in [Kind::Direct, Kind::Group, Kind::Channel] {
            assert_eq!(kind_from_wire(kind_to_wire(kind)), Ok(kind));
        }
        for role in [Role::Member, Role::Admin, Role::Owner] {
            assert_eq!(role_from_wire(role_to_wire(role)), Ok(Some(role)));
        }
        for fanout in [Fanout::Auto, Fanout::Write, Fanout::Read] {
            assert_eq!(fanout_from_wire(fanout_to_wire(fanout)), Ok(fanout));
        }
    }
}
