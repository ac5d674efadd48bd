//! Records of every kind with arbitrary fields, and bytes of any kind.

use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn users() -> impl Strategy<Value = Vec<UserId>> {
    vec(any::<u32>().prop_map(UserId), 0..8)
}

fn body() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn settings() -> impl Strategy<Value = Settings> {
    let fanout = prop_oneof![Just(Fanout::Auto), Just(Fanout::Write), Just(Fanout::Read)];
    (any::<bool>(), any::<bool>(), fanout).prop_map(|(open, history, fanout)| Settings { open, history, fanout })
}

fn fact(position: Position) -> impl Strategy<Value = Fact> {
    let id = any::<u32>;
    let seq = || any::<u64>().prop_map(Seq);
    let ordinal = || any::<u64>().prop_map(Ordinal);
    let target_position = || (0..position.0).prop_map(Position);
    let kind = prop_oneof![Just(Kind::Direct), Just(Kind::Group), Just(Kind::Channel)];
    let role = prop_oneof![Just(Role::Member), Just(Role::Admin), Just(Role::Owner)];
    let names = prop_oneof![
        (id(), ".{0,20}").prop_map(|(id, name)| Fact::User { id: UserId(id), name }),
        (id(), ".{0,20}").prop_map(|(id, name)| Fact::Conversation { id: ConversationId(id), name }),
        (id(), id(), ".{0,20}").prop_map(|(id, user, name)| Fact::Device {
            id: DeviceId(id),
            user: UserId(user),
            name
        }),
        id().prop_map(|id| Fact::Revoke { id: DeviceId(id) }),
    ];
    let messages = prop_oneof![
        (option::of(any::<u64>()), option::of(seq()), users(), body()).prop_map(
            |(sent_at_ms, quote, mentions, body)| Fact::Message(Message { sent_at_ms, quote, mentions, body })
        ),
        (seq(), target_position(), body()).prop_map(|(target, target_position, body)| Fact::Edit {
            target,
            target_position,
            body
        }),
        (seq(), target_position(), ordinal()).prop_map(|(target, target_position, target_ordinal)| Fact::Recall {
            target,
            target_position,
            target_ordinal
        }),
    ];
    let conversations = prop_oneof![
        (kind, settings(), option::of(id().prop_map(UserId)), users())
            .prop_map(|(kind, settings, owner, members)| Fact::Create { kind, settings, owner, members }),
        users().prop_map(|members| Fact::Add { members }),
        users().prop_map(|members| Fact::Remove { members }),
        Just(Fact::Join),
        Just(Fact::Leave),
        (id(), role).prop_map(|(user, role)| Fact::Role { user: UserId(user), role }),
        settings().prop_map(Fact::Settings),
        prop_oneof![Just(Mode::Write), Just(Mode::Read)].prop_map(Fact::Mode),
    ];
    let marks = prop_oneof![
        (seq(), ordinal()).prop_map(|(through, through_ordinal)| Fact::Read { through, through_ordinal }),
        any::<bool>().prop_map(|muted| Fact::Mute { muted }),
        id().prop_map(|epoch| Fact::Epoch { epoch: crate::id::Epoch(epoch) }),
    ];
    prop_oneof![names, messages, conversations, marks]
}

fn record() -> impl Strategy<Value = Record> {
    let zero_or = || prop_oneof![Just(0_u32), any::<u32>()];
    let zero_or_long = || prop_oneof![Just(0_u64), any::<u64>()];
    (1_u64..).prop_flat_map(move |position| {
        let previous = prop_oneof![Just(0), 0..position];
        let who = (zero_or(), any::<bool>(), zero_or(), zero_or_long(), previous);
        let place = (zero_or(), zero_or_long(), zero_or_long());
        (any::<u64>(), who, place, fact(Position(position))).prop_map(move |(time_ms, who, place, fact)| Record {
            position: Position(position),
            time_ms,
            author: UserId(who.0),
            by_service: who.1,
            device: DeviceId(who.2),
            client_seq: who.3,
            previous: Position(who.4),
            conversation: ConversationId(place.0),
            seq: Seq(place.1),
            ordinal: Ordinal(place.2),
            fact,
        })
    })
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn round_trip(record in record()) {
        let bytes = encoded(&record);
        prop_assert_eq!(decode(record.position, &bytes), Ok(record.clone()));
        prop_assert_eq!(decode_shared(record.position, &Bytes::from(bytes)), Ok(record));
    }

    #[test]
    fn a_flipped_bit_gives_damage_or_another_record(record in record(), place: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = encoded(&record);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(other) = decode(record.position, &bytes) {
            prop_assert_ne!(&other, &record);
            prop_assert_eq!(encoded(&other), bytes);
        }
    }

    #[test]
    fn a_record_has_one_form(
        kind in 0_u8..24,
        flags in prop_oneof![0_u8..32, any::<u8>()],
        rest in vec(prop_oneof![0_u8..4, any::<u8>()], 0..48),
        position in prop_oneof![0_u64..4, any::<u64>()],
    ) {
        let bytes = [vec![kind, flags], rest].concat();
        if let Ok(record) = decode(Position(position), &bytes) {
            prop_assert_eq!(encoded(&record), bytes);
        }
    }
}

#[test]
fn what_is_no_record_is_damage() {
    for (bytes, what) in [
        (&[][..], "a record's kind cannot be read"),
        (&[11], "a record's flags cannot be read"),
        (&[11, 0], "a record's time cannot be read"),
        (&[0, 0, 0], "a record has the unknown kind 0"),
        (&[19, 0, 0], "a record has the unknown kind 19"),
        (&[11, 0x20, 0], "a record has unknown flags 0x20"),
        (&[11, 0, 0, 0], "1 bytes follow a record"),
        (&[11, 2, 0, 0], "a record's author cannot be read"),
        (&[11, 2, 0, 0x80, 0x80, 0x80, 0x80, 0x10], "a record's author cannot be read"),
        (&[11, 4, 0, 0, 0, 0], "a record's device cannot be read"),
        (&[11, 4, 0, 1, 1, 9], "a record's previous cannot be read"),
        (&[11, 8, 0, 0], "a record's conversation cannot be read"),
        (&[11, 16, 0, 0, 0], "a record's seq cannot be read"),
        (&[1, 0, 0, 1, 0xff], "a record's name cannot be read"),
        (&[5, 0, 0, 8], "a message has unknown flags 0x08"),
        (&[5, 0, 0, 4, 0], "a record's mentions cannot be read"),
        (&[5, 0, 0, 4, 2, 1], "a record's mentions cannot be read"),
        (&[6, 0, 0, 1, 0], "a record's target cannot be read"),
        (&[6, 0, 0, 1, 10], "a record's target cannot be read"),
        (&[8, 0, 0, 4, 0, 0, 0], "a record's kind cannot be read"),
        (&[8, 0, 0, 1, 12, 0, 0], "a record's settings cannot be read"),
        (&[8, 0, 0, 1, 0, 0x81, 0x80, 0x80, 0x80, 0x10, 0], "a record's owner cannot be read"),
        (&[9, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "a record's members cannot be read"),
        (&[13, 0, 0, 1, 0], "a record's role cannot be read"),
        (&[15, 0, 0, 3], "a record's mode cannot be read"),
        (&[17, 0, 0, 2], "a record's mute cannot be read"),
    ] {
        let damage = decode(Position(9), bytes).expect_err(what);
        assert_eq!(damage.what(), what, "{bytes:02x?}");
    }
}

#[test]
fn a_shared_body_is_not_copied() {
    let body = Bytes::from_static(b"where it stands");
    let fact = Fact::Message(Message { body, ..Message::default() });
    let record = Record { fact, ..decode(Position(1), &[11, 0, 0]).expect("a join") };
    let bytes = Bytes::from(encoded(&record));
    let Ok(Record { fact: Fact::Message(message), .. }) = decode_shared(Position(1), &bytes) else {
        panic!("it was a message");
    };
    assert!(bytes.as_ptr_range().contains(&message.body.as_ptr()));
}

#[test]
#[should_panic(expected = "which is not before it")]
fn a_target_after_its_edit_is_our_mistake() {
    let fact = Fact::Edit { target: Seq(1), target_position: Position(1), body: Bytes::new() };
    encoded(&Record { fact, ..decode(Position(1), &[11, 0, 0]).expect("a join") });
}
