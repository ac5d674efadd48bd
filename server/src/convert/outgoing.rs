//! What the engine answers, as the wire says it.

use super::{FANOUTS, KINDS, ROLES, number};
use bytes::Bytes;
use highwater_engine::Outcome;
use highwater_engine::entry::{Body, ConversationView, Delta, DeviceView, Entry, MemberView, What};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Seq;
use highwater_proto::record::Settings;
use highwater_proto::wire::{self, MessageRecord, PreparedDelta, PreparedRecord, kind, response};
use std::sync::Arc;

/// The answer to a request.
pub(crate) fn outcome(result: Result<Outcome, Error>) -> response::Outcome {
    match result {
        Ok(Outcome::Receipt(receipt)) => response::Outcome::Receipt(wire::Receipt {
            conversation: receipt.conversation.to_string(),
            seq: receipt.seq.0,
            position: receipt.position.0,
            time_ms: receipt.time_ms,
            client_seq: receipt.client_seq,
            repeated: receipt.repeated,
        }),
        Ok(Outcome::Changed(entry)) => response::Outcome::Changed(record(*entry)),
        Ok(Outcome::Unchanged { conversation }) => {
            response::Outcome::Unchanged(wire::Target { conversation: conversation.to_string() })
        }
        // No request of the wire opens a session.
        Ok(Outcome::Session(_)) => {
            response::Outcome::Failure((&Error::new(Code::Protocol, "a session is opened by the first frame")).into())
        }
        Err(error) => response::Outcome::Failure((&error).into()),
    }
}

/// A record.
pub(crate) fn record(entry: Entry) -> wire::Record {
    let mut record = wire::Record {
        position: entry.position.0,
        conversation: entry.conversation.to_string(),
        seq: entry.seq.0,
        from: entry.from.to_string(),
        device: entry.device.to_string(),
        time_ms: entry.time_ms,
        by_service: entry.by_service,
        ..wire::Record::default()
    };
    match entry.what {
        What::Message { sent_at_ms, quote, mentions, body } => {
            record.kind = kind::MESSAGE;
            record.sent_at_ms = sent_at_ms;
            record.quote = quote.map(|seq| seq.0);
            record.mentions = names(mentions);
            match body {
                Body::Original(body) => record.body = body,
                Body::Edited(body, edited_ms) => {
                    record.body = body;
                    record.edited_ms = Some(edited_ms);
                }
                Body::Recalled => record.recalled = true,
            }
        }
        What::Create { kind, settings, owner, members } => {
            record.kind = kind::CREATE;
            record.conversation_kind = number(&KINDS, &kind);
            record.owner = owner.map(|name| name.to_string()).unwrap_or_default();
            record.members = names(members);
            set(&mut record, settings);
        }
        What::Add { members } => (record.kind, record.members) = (kind::ADD, names(members)),
        What::Remove { members } => (record.kind, record.members) = (kind::REMOVE, names(members)),
        What::Join { user } => (record.kind, record.members) = (kind::JOIN, vec![user.to_string()]),
        What::Leave { user } => (record.kind, record.members) = (kind::LEAVE, vec![user.to_string()]),
        What::Role { user, role } => {
            record.kind = kind::ROLE;
            record.user = user.to_string();
            record.role = number(&ROLES, &role);
        }
        What::Settings(settings) => {
            record.kind = kind::SETTINGS;
            set(&mut record, settings);
        }
        What::Edit { target, body } => {
            record.kind = kind::EDIT;
            record.target = target.0;
            record.recalled = body.is_none();
            record.body = body.unwrap_or_default();
        }
        What::Recall { target } => (record.kind, record.target) = (kind::RECALL, target.0),
        What::Read { through } => (record.kind, record.through) = (kind::READ, through.0),
        What::Mute { muted } => (record.kind, record.muted) = (kind::MUTE, muted),
        What::Revoke { device } => (record.kind, record.device) = (kind::REVOKE, device.to_string()),
        What::User { user } => (record.kind, record.user) = (kind::USER, user.to_string()),
    }
    record
}

fn set(record: &mut wire::Record, settings: Settings) {
    record.open = settings.open;
    record.history = settings.history;
    record.fanout = number(&FANOUTS, &settings.fanout);
}

fn names(names: Vec<Arc<str>>) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// A delta.
pub(crate) fn delta(delta: Delta<Bytes>) -> PreparedDelta {
    let records = delta.records.into_iter().map(PreparedRecord::from_bytes).collect();
    let rest = wire::Delta {
        from: delta.from.0,
        to: delta.to.0,
        checkpoint: delta.checkpoint.map_or(Bytes::new(), |checkpoint| checkpoint.encode().into()),
        caught_up: delta.caught_up,
        records: Vec::new(),
        gaps: delta
            .gaps
            .into_iter()
            .map(|gap| wire::Gap {
                conversation: gap.conversation.to_string(),
                from_seq: gap.from_seq.0,
                to_seq: gap.to_seq.0,
            })
            .collect(),
        reset: delta.reset.map(|reason| wire::Reset { reason: reason.as_str().to_owned() }),
        conversations: delta.conversations.into_iter().map(conversation).collect(),
    };
    PreparedDelta { rest, records }
}

/// A record as it stands in deltas.
pub(crate) fn encoded(entry: Entry) -> Bytes {
    let prepared = match &entry.what {
        What::Message { mentions, body, sent_at_ms, quote } if mentions.is_empty() => {
            let (body, edited_ms) = match body {
                Body::Original(body) => (Some(body), None),
                Body::Edited(body, edited_ms) => (Some(body), Some(*edited_ms)),
                Body::Recalled => (None, None),
            };
            PreparedRecord::of_message(&MessageRecord {
                position: entry.position.0,
                conversation: &entry.conversation,
                seq: entry.seq.0,
                from: &entry.from,
                device: &entry.device,
                time_ms: entry.time_ms,
                by_service: entry.by_service,
                body: body.cloned().unwrap_or_default(),
                sent_at_ms: *sent_at_ms,
                quote: quote.map(|seq| seq.0),
                edited_ms,
                recalled: body.is_none(),
            })
        }
        _ => PreparedRecord::new(&record(entry)),
    };
    prepared.into_bytes()
}

/// A conversation as its member sees it.
pub(crate) fn conversation(view: ConversationView) -> wire::Conversation {
    wire::Conversation {
        conversation: view.conversation.to_string(),
        kind: number(&KINDS, &view.kind),
        role: view.role.map_or(0, |role| number(&ROLES, &role)),
        head: view.head.0,
        read: view.read.0,
        unread: view.unread,
        muted: view.muted,
        ranges: ranges(&view.ranges),
        last: view.last.map(record),
    }
}

/// A member of a conversation.
pub(crate) fn member(view: MemberView) -> wire::Member {
    wire::Member { user: view.user.to_string(), role: number(&ROLES, &view.role), ranges: ranges(&view.ranges) }
}

/// A registered device.
pub(crate) fn device(view: DeviceView) -> wire::Device {
    wire::Device {
        device: view.device.to_string(),
        client_seq: view.client_seq,
        position: view.position.0,
        last_seen_ms: view.last_seen_ms,
    }
}

fn ranges(ranges: &[(Seq, Seq)]) -> Vec<wire::Range> {
    ranges.iter().map(|(first, last)| wire::Range { first: first.0, last: last.0 }).collect()
}
