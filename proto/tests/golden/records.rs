//! A record of every kind, with every field that it may have and with none.

use crate::{Case, check, damaged};
use bytes::Bytes;
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fact, Fanout, Kind, Message, Mode, Record, Role, Settings, decode};
use std::collections::BTreeSet;

const POSITION: Position = Position(1_000);

/// A record of the service, outside any conversation.
fn plain(fact: Fact) -> Record {
    Record {
        position: POSITION,
        time_ms: 1_700_000_000_000,
        author: UserId::ZERO,
        by_service: true,
        device: DeviceId::ZERO,
        client_seq: 0,
        previous: Position::ZERO,
        conversation: ConversationId::ZERO,
        seq: Seq::ZERO,
        ordinal: Ordinal::ZERO,
        fact,
    }
}

/// A record of a user.
fn authored(fact: Fact) -> Record {
    Record { author: UserId(7), by_service: false, conversation: ConversationId(300), ..plain(fact) }
}

/// A record of a user, with a seq.
fn sequenced(fact: Fact) -> Record {
    Record { seq: Seq(40), ordinal: Ordinal(33), ..authored(fact) }
}

/// A record that a device numbered.
fn numbered(fact: Fact) -> Record {
    Record { device: DeviceId(9), client_seq: 17, previous: Position(870), ..sequenced(fact) }
}

fn records() -> Vec<(&'static str, Record)> {
    let users = |ids: &[u32]| ids.iter().copied().map(UserId).collect::<Vec<_>>();
    let settings = |open, history, fanout| Settings { open, history, fanout };
    let body = Bytes::from_static("h\u{e9}".as_bytes());
    let full = Message {
        sent_at_ms: Some(1_699_999_999_999),
        quote: Some(Seq(39)),
        mentions: users(&[7, 128, u32::MAX]),
        body: body.clone(),
    };
    let create =
        |kind, settings, owner, members: &[u32]| Fact::Create { kind, settings, owner, members: users(members) };
    vec![
        ("user", plain(Fact::User { id: UserId(7), name: "alice".into() })),
        ("conversation", plain(Fact::Conversation { id: ConversationId(300), name: "dm:alice,bob".into() })),
        ("device", plain(Fact::Device { id: DeviceId(9), user: UserId(7), name: "phone".into() })),
        ("revoke", plain(Fact::Revoke { id: DeviceId(9) })),
        ("message", numbered(Fact::Message(full.clone()))),
        (
            "message_first_of_device",
            Record {
                client_seq: 1,
                previous: Position::ZERO,
                ..numbered(Fact::Message(Message { body: body.clone(), ..Message::default() }))
            },
        ),
        ("message_empty", numbered(Fact::Message(Message::default()))),
        ("message_by_service", Record { by_service: true, ..numbered(Fact::Message(full)) }),
        ("edit", numbered(Fact::Edit { target: Seq(38), target_position: Position(800), body })),
        ("recall", {
            let (target, target_position, target_ordinal) = (Seq(38), Position(800), Ordinal(32));
            numbered(Fact::Recall { target, target_position, target_ordinal })
        }),
        ("create_direct", sequenced(create(Kind::Direct, settings(false, false, Fanout::Auto), None, &[7, 8]))),
        ("create_group", sequenced(create(Kind::Group, settings(false, true, Fanout::Write), Some(UserId(7)), &[7]))),
        ("create_channel", sequenced(create(Kind::Channel, settings(true, true, Fanout::Read), None, &[]))),
        ("add", sequenced(Fact::Add { members: users(&[10, 11]) })),
        ("add_in_channel", authored(Fact::Add { members: users(&[10]) })),
        ("remove", sequenced(Fact::Remove { members: users(&[10, 11]) })),
        ("join", authored(Fact::Join)),
        ("leave", sequenced(Fact::Leave)),
        ("role_member", sequenced(Fact::Role { user: UserId(10), role: Role::Member })),
        ("role_admin", sequenced(Fact::Role { user: UserId(10), role: Role::Admin })),
        ("role_owner", sequenced(Fact::Role { user: UserId(10), role: Role::Owner })),
        ("settings", sequenced(Fact::Settings(settings(true, false, Fanout::Auto)))),
        ("mode_write", Record { conversation: ConversationId(300), ..plain(Fact::Mode(Mode::Write)) }),
        ("mode_read", Record { conversation: ConversationId(300), ..plain(Fact::Mode(Mode::Read)) }),
        ("read", authored(Fact::Read { through: Seq(40), through_ordinal: Ordinal(33) })),
        ("mute", authored(Fact::Mute { muted: true })),
        ("unmute", authored(Fact::Mute { muted: false })),
        ("epoch", plain(Fact::Epoch { epoch: Epoch(2) })),
    ]
}

#[test]
fn records_of_every_kind() {
    let cases: Vec<Case> = records()
        .into_iter()
        .map(|(name, record)| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(decode(POSITION, &bytes).as_ref(), Ok(&record), "{name}");
            damaged(&bytes, |bytes| assert_ne!(decode(POSITION, bytes).as_ref(), Ok(&record), "{name}: {bytes:02x?}"));
            Case::new(name, bytes)
        })
        .collect();
    check("golden/records.txt", include_str!("../../golden/records.txt"), &cases);
}

#[test]
fn no_kind_is_left_out() {
    // A new fact does not compile here until it has a number, and fails below until it has golden bytes.
    let number = |fact: &Fact| match fact {
        Fact::User { .. } => 1,
        Fact::Conversation { .. } => 2,
        Fact::Device { .. } => 3,
        Fact::Revoke { .. } => 4,
        Fact::Message(_) => 5,
        Fact::Edit { .. } => 6,
        Fact::Recall { .. } => 7,
        Fact::Create { .. } => 8,
        Fact::Add { .. } => 9,
        Fact::Remove { .. } => 10,
        Fact::Join => 11,
        Fact::Leave => 12,
        Fact::Role { .. } => 13,
        Fact::Settings(_) => 14,
        Fact::Mode(_) => 15,
        Fact::Read { .. } => 16,
        Fact::Mute { .. } => 17,
        Fact::Epoch { .. } => 18,
    };
    let numbers: BTreeSet<u8> = records().iter().map(|(_, record)| number(&record.fact)).collect();
    assert!(numbers.into_iter().eq(1..=18));
}
