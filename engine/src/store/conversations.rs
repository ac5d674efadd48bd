//! Family `conversations`: the row of a conversation that was created; its name stands in `names`, its members in
//! `members`, its recalled messages in `recalled`.
//!
//! Key: conversation. Value: kind (1 direct, 2 group, 3 channel), flags (1 open, 2 history), fan-out (0 auto, 1 write,
//! 2 read) and mode (1 write, 2 read), a byte each; then as varints creator, head, position of the head, ordinal of
//! the head, time of the mode in ms, last position written in read mode.

use super::codec::{Fields, fixed};
use crate::state::{Changed, Conversation};
use highwater_proto::error::Damage;
use highwater_proto::id::{ConversationId, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fanout, Kind, Mode, Settings};
use highwater_proto::varint;
use std::collections::BTreeMap;
use std::sync::Arc;

const OPEN: u8 = 1;
const HISTORY: u8 = 2;

pub(super) fn key(conversation: ConversationId) -> [u8; 4] {
    conversation.0.to_be_bytes()
}

pub(super) fn decode_key(key: &[u8]) -> Result<ConversationId, Damage> {
    Ok(ConversationId(u32::from_be_bytes(fixed(key)?)))
}

pub(super) fn value(conversation: &Conversation) -> Vec<u8> {
    let Settings { open, history, fanout } = conversation.settings;
    let mut value = vec![
        match conversation.kind {
            Kind::Direct => 1,
            Kind::Group => 2,
            Kind::Channel => 3,
        },
        if open { OPEN } else { 0 } | if history { HISTORY } else { 0 },
        match fanout {
            Fanout::Auto => 0,
            Fanout::Write => 1,
            Fanout::Read => 2,
        },
        match conversation.mode {
            Mode::Write => 1,
            Mode::Read => 2,
        },
    ];
    for field in [
        u64::from(conversation.creator.0),
        conversation.head.0,
        conversation.head_position.0,
        conversation.ordinal.0,
        conversation.mode_since_ms,
        conversation.last_read_mode.0,
    ] {
        varint::put(&mut value, field);
    }
    value
}

/// Reads a value; members and recalled messages are for other families to add.
pub(super) fn decode_value(name: Arc<str>, value: &[u8]) -> Result<Conversation, Damage> {
    let mut fields = Fields::new(value);
    let kind = match fields.byte("kind")? {
        1 => Kind::Direct,
        2 => Kind::Group,
        3 => Kind::Channel,
        other => return Err(Damage::new(format!("kind {other} is unknown"))),
    };
    let flags = fields.byte("flags")?;
    if flags & !(OPEN | HISTORY) != 0 {
        return Err(Damage::new(format!("flags {flags:#x} are unknown")));
    }
    let fanout = match fields.byte("fan-out")? {
        0 => Fanout::Auto,
        1 => Fanout::Write,
        2 => Fanout::Read,
        other => return Err(Damage::new(format!("fan-out {other} is unknown"))),
    };
    let mode = match fields.byte("mode")? {
        1 => Mode::Write,
        2 => Mode::Read,
        other => return Err(Damage::new(format!("mode {other} is unknown"))),
    };
    let conversation = Conversation {
        name,
        kind,
        settings: Settings { open: flags & OPEN != 0, history: flags & HISTORY != 0, fanout },
        creator: UserId(fields.id("creator")?),
        head: Seq(fields.number("head")?),
        head_position: Position(fields.number("position of the head")?),
        ordinal: Ordinal(fields.number("ordinal of the head")?),
        mode,
        mode_since_ms: fields.number("time of the mode")?,
        last_read_mode: Position(fields.number("last position in read mode")?),
        recalled: Vec::new(),
        members: BTreeMap::new(),
        active: Vec::new(),
        changed: Changed::default(),
    };
    fields.finish()?;
    Ok(conversation)
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    fn conversation() -> Conversation {
        Conversation {
            name: "c".into(),
            kind: Kind::Channel,
            settings: Settings { open: true, history: true, fanout: Fanout::Read },
            creator: UserId(5),
            head: Seq(300),
            head_position: Position(1000),
            ordinal: Ordinal(200),
            mode: Mode::Read,
            mode_since_ms: 7,
            last_read_mode: Position(1000),
            recalled: Vec::new(),
            members: BTreeMap::new(),
            active: Vec::new(),
            changed: Changed::default(),
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(key(ConversationId(258)), [0, 0, 1, 2]);
        assert_eq!(value(&conversation()), [3, 3, 2, 2, 5, 0xac, 2, 0xe8, 7, 0xc8, 1, 7, 0xe8, 7]);
    }

    #[test]
    fn round_trip() {
        for (kind, fanout, mode) in [
            (Kind::Direct, Fanout::Auto, Mode::Write),
            (Kind::Group, Fanout::Write, Mode::Read),
            (Kind::Channel, Fanout::Read, Mode::Write),
        ] {
            for (open, history) in [(false, false), (true, false), (false, true)] {
                let settings = Settings { open, history, fanout };
                let conversation = Conversation { kind, mode, settings, ..conversation() };
                let decoded = decode_value("c".into(), &value(&conversation)).expect("own value");
                assert_eq!(format!("{decoded:?}"), format!("{conversation:?}"));
            }
        }
        check::ascend(&[key(ConversationId(1)), key(ConversationId(255)), key(ConversationId(256))]);
    }

    #[test]
    fn other_bytes_are_refused() {
        check::refuses_all_but(&key(ConversationId(9)), decode_key);
        let text = |value: &[u8]| decode_value("c".into(), value).map(|conversation| format!("{conversation:?}"));
        check::refuses_all_but(&value(&conversation()), text);
    }
}
