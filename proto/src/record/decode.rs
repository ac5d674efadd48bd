//! From bytes to a record. The bytes may be anything: no claim in them is believed beyond what they can hold.

use super::layout::{flag, kind_byte, message_flag, mode_byte, number, role_byte, settings_bits};
use super::{Fact, Fanout, Kind, Message, Mode, Record, Role, Settings};
use crate::error::Damage;
use crate::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use crate::varint;
use bytes::Bytes;

/// Reads the record at `position` from the whole of `bytes`; anything that [`encode`](super::encode) would not write is damage.
///
/// Memory taken is bounded by the length of `bytes`, whatever they claim.
pub fn decode(position: Position, bytes: &[u8]) -> Result<Record, Damage> {
    decode_with(position, bytes, Bytes::copy_from_slice)
}

/// As [`decode`], but a body shares the memory of `bytes` instead of being copied.
pub fn decode_shared(position: Position, bytes: &Bytes) -> Result<Record, Damage> {
    decode_with(position, bytes, |body| bytes.slice_ref(body))
}

/// As [`decode`], but a body is left out: what is read has an empty one.
pub fn decode_without_body(position: Position, bytes: &[u8]) -> Result<Record, Damage> {
    decode_with(position, bytes, |_| Bytes::new())
}

fn decode_with(position: Position, bytes: &[u8], body: impl Fn(&[u8]) -> Bytes) -> Result<Record, Damage> {
    let mut reader = Reader { rest: bytes };
    let number = reader.byte("kind")?;
    let flags = reader.byte("flags")?;
    if flags & !flag::ALL != 0 {
        return Err(Damage::new(format!("a record has unknown flags {flags:#04x}")));
    }
    let has = |bit: u8| flags & bit != 0;
    let mut record = Record {
        position,
        time_ms: reader.number("time")?,
        author: UserId::ZERO,
        by_service: has(flag::BY_SERVICE),
        device: DeviceId::ZERO,
        client_seq: 0,
        previous: Position::ZERO,
        conversation: ConversationId::ZERO,
        seq: Seq::ZERO,
        ordinal: Ordinal::ZERO,
        fact: Fact::Join,
    };
    if has(flag::AUTHOR) {
        record.author = UserId(reader.id("author")?);
    }
    if has(flag::DEVICE) {
        record.device = DeviceId(reader.number_u32("device")?);
        record.client_seq = reader.number("client_seq")?;
        record.previous = reader.previous(position)?;
        if record.device.is_zero() && record.client_seq == 0 && record.previous.is_zero() {
            return Err(malformed("device"));
        }
    }
    if has(flag::CONVERSATION) {
        record.conversation = ConversationId(reader.id("conversation")?);
    }
    if has(flag::SEQ) {
        record.seq = Seq(reader.number("seq")?);
        record.ordinal = Ordinal(reader.number("ordinal")?);
        if record.seq.is_zero() && record.ordinal.is_zero() {
            return Err(malformed("seq"));
        }
    }
    record.fact = decode_fact(position, number, &mut reader, body)?;
    if !reader.rest.is_empty() {
        return Err(Damage::new(format!("{} bytes follow a record", reader.rest.len())));
    }
    Ok(record)
}

fn decode_fact(
    position: Position,
    number: u8,
    reader: &mut Reader<'_>,
    body: impl Fn(&[u8]) -> Bytes,
) -> Result<Fact, Damage> {
    Ok(match number {
        number::USER => Fact::User { id: UserId(reader.number_u32("id")?), name: reader.name()? },
        number::CONVERSATION => {
            Fact::Conversation { id: ConversationId(reader.number_u32("id")?), name: reader.name()? }
        }
        number::DEVICE => Fact::Device {
            id: DeviceId(reader.number_u32("id")?),
            user: UserId(reader.number_u32("user")?),
            name: reader.name()?,
        },
        number::REVOKE => Fact::Revoke { id: DeviceId(reader.number_u32("id")?) },
        number::MESSAGE => Fact::Message(decode_message(reader, body)?),
        number::EDIT => Fact::Edit {
            target: Seq(reader.number("target")?),
            target_position: reader.position_below(position, "target")?,
            body: body(reader.take_rest()),
        },
        number::RECALL => Fact::Recall {
            target: Seq(reader.number("target")?),
            target_position: reader.position_below(position, "target")?,
            target_ordinal: Ordinal(reader.number("target")?),
        },
        number::CREATE => Fact::Create {
            kind: reader.kind()?,
            settings: reader.settings()?,
            owner: reader.owner()?,
            members: reader.users("members")?,
        },
        number::ADD => Fact::Add { members: reader.users("members")? },
        number::REMOVE => Fact::Remove { members: reader.users("members")? },
        number::JOIN => Fact::Join,
        number::LEAVE => Fact::Leave,
        number::ROLE => Fact::Role { user: UserId(reader.number_u32("user")?), role: reader.role()? },
        number::SETTINGS => Fact::Settings(reader.settings()?),
        number::MODE => Fact::Mode(reader.mode()?),
        number::READ => {
            Fact::Read { through: Seq(reader.number("mark")?), through_ordinal: Ordinal(reader.number("mark")?) }
        }
        number::MUTE => Fact::Mute { muted: reader.choice("mute", &[(0, false), (1, true)])? },
        number::EPOCH => Fact::Epoch { epoch: Epoch(reader.number_u32("epoch")?) },
        unknown => return Err(Damage::new(format!("a record has the unknown kind {unknown}"))),
    })
}

fn decode_message(reader: &mut Reader<'_>, body: impl Fn(&[u8]) -> Bytes) -> Result<Message, Damage> {
    let flags = reader.byte("message")?;
    if flags & !message_flag::ALL != 0 {
        return Err(Damage::new(format!("a message has unknown flags {flags:#04x}")));
    }
    let mut message = Message::default();
    if flags & message_flag::SENT_AT != 0 {
        message.sent_at_ms = Some(reader.number("sent_at")?);
    }
    if flags & message_flag::QUOTE != 0 {
        message.quote = Some(Seq(reader.number("quote")?));
    }
    if flags & message_flag::MENTIONS != 0 {
        message.mentions = reader.users("mentions")?;
        if message.mentions.is_empty() {
            return Err(malformed("mentions"));
        }
    }
    message.body = body(reader.take_rest());
    Ok(message)
}

fn malformed(field: &str) -> Damage {
    Damage::new(format!("a record's {field} cannot be read"))
}

/// Takes fields off the front of a record's bytes; each error names its field.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self, field: &str) -> Result<u8, Damage> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| malformed(field))?;
        self.rest = rest;
        Ok(*byte)
    }

    fn number(&mut self, field: &str) -> Result<u64, Damage> {
        varint::take(&mut self.rest).ok_or_else(|| malformed(field))
    }

    fn number_u32(&mut self, field: &str) -> Result<u32, Damage> {
        varint::take_u32(&mut self.rest).ok_or_else(|| malformed(field))
    }

    /// An id that a flag announced, and which is therefore not zero.
    fn id(&mut self, field: &str) -> Result<u32, Damage> {
        match self.number_u32(field)? {
            0 => Err(malformed(field)),
            id => Ok(id),
        }
    }

    fn position_below(&mut self, position: Position, field: &str) -> Result<Position, Damage> {
        let distance = self.number(field)?;
        if distance == 0 {
            return Err(malformed(field));
        }
        position.0.checked_sub(distance).map(Position).ok_or_else(|| malformed(field))
    }

    /// The previous numbered record of the device: a distance of zero says that there is none.
    fn previous(&mut self, position: Position) -> Result<Position, Damage> {
        match self.number("previous")? {
            0 => Ok(Position::ZERO),
            distance if distance < position.0 => Ok(Position(position.0 - distance)),
            _ => Err(malformed("previous")),
        }
    }

    fn owner(&mut self) -> Result<Option<UserId>, Damage> {
        match self.number("owner")? {
            0 => Ok(None),
            above => u32::try_from(above - 1).map(|id| Some(UserId(id))).map_err(|_| malformed("owner")),
        }
    }

    fn users(&mut self, field: &str) -> Result<Vec<UserId>, Damage> {
        let count = self.number(field)?;
        // A user takes a byte at least: no count may claim more memory than its bytes could fill.
        let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
        let count = count.ok_or_else(|| malformed(field))?;
        let mut users = Vec::with_capacity(count);
        for _ in 0..count {
            users.push(UserId(self.number_u32(field)?));
        }
        Ok(users)
    }

    fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn name(&mut self) -> Result<String, Damage> {
        std::str::from_utf8(self.take_rest()).map(str::to_owned).map_err(|_| malformed("name"))
    }

    fn choice<T: Copy>(&mut self, field: &str, choices: &[(u8, T)]) -> Result<T, Damage> {
        let byte = self.byte(field)?;
        let choice = choices.iter().find(|(number, _)| *number == byte);
        choice.map(|(_, value)| *value).ok_or_else(|| malformed(field))
    }

    fn kind(&mut self) -> Result<Kind, Damage> {
        self.choice("kind", &[Kind::Direct, Kind::Group, Kind::Channel].map(|kind| (kind_byte(kind), kind)))
    }

    fn role(&mut self) -> Result<Role, Damage> {
        self.choice("role", &[Role::Member, Role::Admin, Role::Owner].map(|role| (role_byte(role), role)))
    }

    fn mode(&mut self) -> Result<Mode, Damage> {
        self.choice("mode", &[Mode::Write, Mode::Read].map(|mode| (mode_byte(mode), mode)))
    }

    fn settings(&mut self) -> Result<Settings, Damage> {
        let byte = self.byte("settings")?;
        let settings = Settings {
            open: byte & settings_bits::OPEN != 0,
            history: byte & settings_bits::HISTORY != 0,
            fanout: match byte >> settings_bits::FANOUT_SHIFT {
                0 => Fanout::Auto,
                1 => Fanout::Write,
                2 => Fanout::Read,
                _ => return Err(malformed("settings")),
            },
        };
        Ok(settings)
    }
}
