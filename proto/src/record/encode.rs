//! From a record to its bytes.

use super::layout::{flag, kind_byte, message_flag, mode_byte, number_of, role_byte, settings_byte};
use super::{Fact, Message, Record};
use crate::id::{ConversationId, Position, UserId};
use crate::varint;

/// Appends a record's bytes.
///
/// # Panics
/// If the record names a position that is not below its own: that would be our mistake.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let has_device = !record.device.is_zero() || record.client_seq != 0 || !record.previous.is_zero();
    let has_seq = !record.seq.is_zero() || !record.ordinal.is_zero();
    let mut flags = 0;
    for (set, bit) in [
        (record.by_service, flag::BY_SERVICE),
        (!record.author.is_zero(), flag::AUTHOR),
        (has_device, flag::DEVICE),
        (!record.conversation.is_zero(), flag::CONVERSATION),
        (has_seq, flag::SEQ),
    ] {
        flags |= if set { bit } else { 0 };
    }
    out.push(number_of(&record.fact));
    out.push(flags);
    varint::put(out, record.time_ms);
    if flags & flag::AUTHOR != 0 {
        varint::put(out, record.author.0.into());
    }
    if flags & flag::DEVICE != 0 {
        varint::put(out, record.device.0.into());
        varint::put(out, record.client_seq);
        let distance = if record.previous.is_zero() { 0 } else { below(record.position, record.previous) };
        varint::put(out, distance);
    }
    if flags & flag::CONVERSATION != 0 {
        varint::put(out, record.conversation.0.into());
    }
    if flags & flag::SEQ != 0 {
        varint::put(out, record.seq.0);
        varint::put(out, record.ordinal.0);
    }
    encode_fact(record.position, &record.fact, out);
}

fn encode_fact(position: Position, fact: &Fact, out: &mut Vec<u8>) {
    match fact {
        Fact::User { id: UserId(id), name } | Fact::Conversation { id: ConversationId(id), name } => {
            varint::put(out, (*id).into());
            out.extend_from_slice(name.as_bytes());
        }
        Fact::Device { id, user, name } => {
            varint::put(out, id.0.into());
            varint::put(out, user.0.into());
            out.extend_from_slice(name.as_bytes());
        }
        Fact::Revoke { id } => varint::put(out, id.0.into()),
        Fact::Message(message) => encode_message(message, out),
        Fact::Edit { target, target_position, body } => {
            varint::put(out, target.0);
            varint::put(out, below(position, *target_position));
            out.extend_from_slice(body);
        }
        Fact::Recall { target, target_position, target_ordinal } => {
            varint::put(out, target.0);
            varint::put(out, below(position, *target_position));
            varint::put(out, target_ordinal.0);
        }
        Fact::Create { kind, settings, owner, members } => {
            out.push(kind_byte(*kind));
            out.push(settings_byte(*settings));
            // Zero is nobody's id, so that an owner needs no flag of its own: one more than the id stands here.
            varint::put(out, owner.map_or(0, |owner| u64::from(owner.0) + 1));
            put_users(members, out);
        }
        Fact::Add { members } | Fact::Remove { members } => put_users(members, out),
        Fact::Join | Fact::Leave => {}
        Fact::Role { user, role } => {
            varint::put(out, user.0.into());
            out.push(role_byte(*role));
        }
        Fact::Settings(settings) => out.push(settings_byte(*settings)),
        Fact::Mode(mode) => out.push(mode_byte(*mode)),
        Fact::Read { through, through_ordinal } => {
            varint::put(out, through.0);
            varint::put(out, through_ordinal.0);
        }
        Fact::Mute { muted } => out.push((*muted).into()),
        Fact::Epoch { epoch } => varint::put(out, epoch.0.into()),
    }
}

fn encode_message(message: &Message, out: &mut Vec<u8>) {
    let mut flags = 0;
    for (set, bit) in [
        (message.sent_at_ms.is_some(), message_flag::SENT_AT),
        (message.quote.is_some(), message_flag::QUOTE),
        (!message.mentions.is_empty(), message_flag::MENTIONS),
    ] {
        flags |= if set { bit } else { 0 };
    }
    out.push(flags);
    if let Some(sent_at_ms) = message.sent_at_ms {
        varint::put(out, sent_at_ms);
    }
    if let Some(quote) = message.quote {
        varint::put(out, quote.0);
    }
    if !message.mentions.is_empty() {
        put_users(&message.mentions, out);
    }
    out.extend_from_slice(&message.body);
}

fn put_users(users: &[UserId], out: &mut Vec<u8>) {
    varint::put(out, users.len() as u64);
    for user in users {
        varint::put(out, user.0.into());
    }
}

/// How far `other` stands below `position`.
fn below(position: Position, other: Position) -> u64 {
    assert!(other < position, "record {position} names {other}, which is not before it");
    position.0 - other.0
}
