//! Every wire message with every field set, and one of each choice of those that are a choice.

use crate::{Case, check, damaged};
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::varint;
use highwater_proto::wire::*;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// The sources that declare messages.
const SOURCES: [&str; 4] = [
    include_str!("../../src/wire/command.rs"),
    include_str!("../../src/wire/delta.rs"),
    include_str!("../../src/wire/question.rs"),
    include_str!("../../src/wire/session.rs"),
];

/// A message's golden bytes; whatever happens to them, decoding ends and what it gives is a message.
fn case<M: Message + Default + PartialEq + std::fmt::Debug>(name: &str, message: M) -> Case {
    let bytes = message.encode_to_vec();
    assert_eq!(M::decode(&bytes[..]).as_ref(), Ok(&message), "{name}");
    damaged(&bytes, |bytes| {
        if let Ok(other) = M::decode(bytes) {
            let again = other.encode_to_vec();
            assert_eq!(M::decode(&again[..]), Ok(other), "{name}: {bytes:02x?}");
        }
    });
    Case::new(name, bytes)
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn record() -> Record {
    Record {
        position: 1_000,
        conversation: "c".into(),
        seq: 40,
        kind: kind::MESSAGE,
        from: "alice".into(),
        device: "phone".into(),
        time_ms: 1_700_000_000_000,
        by_service: true,
        body: Bytes::from_static(b"hi"),
        sent_at_ms: Some(1_699_999_999_999),
        quote: Some(0),
        mentions: strings(&["bob", ""]),
        edited_ms: Some(1_700_000_000_001),
        recalled: true,
        conversation_kind: 2,
        owner: "alice".into(),
        members: strings(&["alice", "bob"]),
        user: "bob".into(),
        role: 2,
        target: 39,
        through: 38,
        open: true,
        history: true,
        fanout: 3,
        muted: true,
    }
}

fn failure() -> Failure {
    Failure::from(&Error::limit("body_bytes_max", 65_536, "the body has 70000 bytes"))
}

fn conversation() -> Conversation {
    let ranges = vec![Range { first: 1, last: 9 }, Range { first: 20, last: 40 }];
    Conversation {
        conversation: "c".into(),
        kind: 2,
        role: 3,
        head: 40,
        read: 30,
        unread: 5,
        muted: true,
        ranges,
        last: Some(Record { position: 1_000, ..Record::default() }),
    }
}

fn frames() -> Vec<Case> {
    let token = || Token { token: "j.w.t".into() };
    let ack = || Ack { checkpoint: Bytes::from_static(&[1; 29]) };
    let hello = || Hello { token: "j.w.t".into(), send: true, as_user: "alice".into(), device: "phone".into() };
    let welcome = || Welcome {
        incarnation: Bytes::from_static(&[0xab; 16]),
        user: "alice".into(),
        device: "phone".into(),
        last_client_seq: 17,
        body_bytes_max: 65_536,
        commands_in_flight_max: 256,
        token_valid_ms: 3_600_000,
        visible: 1_000,
        time_ms: 1_700_000_000_000,
    };
    let client = |body| ClientFrame { body: Some(body) };
    let server = |body| ServerFrame { body: Some(body) };
    vec![
        case("Hello", hello()),
        case("Token", token()),
        case("Ack", ack()),
        case("ClientFrame", client(client_frame::Body::Hello(hello()))),
        case("ClientFrame", client(client_frame::Body::Request(Request::default()))),
        case("ClientFrame", client(client_frame::Body::Token(token()))),
        case("ClientFrame", client(client_frame::Body::Ack(ack()))),
        case("Welcome", welcome()),
        case("Failure", failure()),
        case("ServerFrame", server(server_frame::Body::Welcome(welcome()))),
        case("ServerFrame", server(server_frame::Body::Response(Response::default()))),
        case("ServerFrame", server(server_frame::Body::Goodbye(failure()))),
    ]
}

fn commands() -> Vec<Case> {
    let conversation = || "c".to_owned();
    let body = || Bytes::from_static(b"hi");
    let send = Send {
        client_seq: 17,
        to: "bob".into(),
        conversation: conversation(),
        body: body(),
        quote: Some(39),
        mentions: strings(&["bob"]),
        sent_at_ms: Some(1_699_999_999_999),
    };
    let edit = Edit { client_seq: 18, conversation: conversation(), target: 39, body: body() };
    let recall = Recall { client_seq: 19, conversation: conversation(), target: 39 };
    let create = Create {
        kind: 2,
        conversation: conversation(),
        owner: "alice".into(),
        members: strings(&["bob", "carol"]),
        open: true,
        history: true,
    };
    let members = || Members { conversation: conversation(), members: strings(&["bob", "carol"]) };
    let target = || Target { conversation: conversation() };
    let role = SetRole { conversation: conversation(), user: "bob".into(), role: 2 };
    let settings =
        SetSettings { conversation: conversation(), open: Some(false), history: Some(true), fanout: Some(3) };
    let mute = Mute { conversation: conversation(), muted: true };
    let read = MarkRead { conversation: conversation(), through: 40 };
    let revoke = Revoke { device: "phone".into() };
    let user = CreateUser { user: "bob".into() };
    let subscribe = Subscribe {
        checkpoint: Bytes::from_static(&[1; 29]),
        snapshot: true,
        per_conversation_max: 50,
        records_max: 100,
        live: true,
    };
    let request = |call| case("Request", Request { id: 5, call: Some(call) });
    vec![
        case("Send", send.clone()),
        case("Edit", edit.clone()),
        case("Recall", recall.clone()),
        case("Create", create.clone()),
        case("Members", members()),
        case("Target", target()),
        case("SetRole", role.clone()),
        case("SetSettings", settings.clone()),
        case("Mute", mute.clone()),
        case("MarkRead", read.clone()),
        case("Revoke", revoke.clone()),
        case("CreateUser", user.clone()),
        case("Subscribe", subscribe.clone()),
        request(request::Call::Send(send)),
        request(request::Call::Edit(edit)),
        request(request::Call::Recall(recall)),
        request(request::Call::Create(create)),
        request(request::Call::Add(members())),
        request(request::Call::Remove(members())),
        request(request::Call::Join(target())),
        request(request::Call::Leave(target())),
        request(request::Call::Role(role)),
        request(request::Call::Settings(settings)),
        request(request::Call::Mute(mute)),
        request(request::Call::Read(read)),
        request(request::Call::Revoke(revoke)),
        request(request::Call::CreateUser(user)),
        request(request::Call::Subscribe(subscribe)),
    ]
}

fn answers() -> Vec<Case> {
    let receipt = || Receipt {
        conversation: "c".into(),
        seq: 40,
        position: 1_000,
        time_ms: 1_700_000_000_000,
        client_seq: 17,
        repeated: true,
    };
    let subscribed = Subscribed { subscription: 3 };
    let target = Target { conversation: "c".into() };
    let response = |outcome| case("Response", Response { id: 5, outcome: Some(outcome) });
    vec![
        case("Receipt", receipt()),
        case("Subscribed", subscribed),
        response(response::Outcome::Failure(failure())),
        response(response::Outcome::Receipt(receipt())),
        response(response::Outcome::Changed(record())),
        response(response::Outcome::Unchanged(target)),
        response(response::Outcome::Subscribed(subscribed)),
    ]
}

fn deltas() -> Vec<Case> {
    let gap = || Gap { conversation: "c".into(), from_seq: 2, to_seq: 38 };
    let reset = || Reset { reason: "epoch".into() };
    let delta = Delta {
        from: 900,
        to: 1_000,
        checkpoint: Bytes::from_static(&[1; 29]),
        caught_up: true,
        records: vec![record(), Record::default()],
        gaps: vec![gap()],
        reset: Some(reset()),
        conversations: vec![conversation()],
    };
    vec![
        case("Gap", gap()),
        case("Reset", reset()),
        case("Range", Range { first: 1, last: 9 }),
        case("Record", record()),
        case("Conversation", conversation()),
        case("Delta", delta),
    ]
}

fn questions() -> Vec<Case> {
    let cursor = || Bytes::from_static(b"cursor");
    let history = HistoryQuery { conversation: "c".into(), before: Some(40), after: Some(0), limit: 100 };
    let conversations = ConversationsQuery { limit: 100, cursor: cursor() };
    let members = MembersQuery { conversation: "c".into(), limit: 100, cursor: cursor() };
    let member = || Member { user: "bob".into(), role: 2, ranges: vec![Range { first: 1, last: 9 }] };
    let device = || Device { device: "phone".into(), client_seq: 17, position: 1_000, last_seen_ms: 1_700_000_000_000 };
    let answer = Answer {
        failure: Some(failure()),
        records: vec![record()],
        conversations: vec![conversation()],
        members: vec![member()],
        devices: vec![device()],
        cursor: cursor(),
        member_count: 2,
        unread_total: 5,
    };
    let query = |call| case("Query", Query { call: Some(call) });
    vec![
        case("HistoryQuery", history.clone()),
        case("ConversationsQuery", conversations.clone()),
        case("MembersQuery", members.clone()),
        case("DevicesQuery", DevicesQuery {}),
        query(query::Call::History(history)),
        query(query::Call::Conversations(conversations)),
        query(query::Call::Members(members)),
        query(query::Call::Devices(DevicesQuery {})),
        case("Member", member()),
        case("Device", device()),
        case("Answer", answer),
    ]
}

fn cases() -> Vec<Case> {
    [frames(), commands(), answers(), deltas(), questions()].into_iter().flatten().collect()
}

#[test]
fn every_message() {
    check("golden/wire.txt", include_str!("../../golden/wire.txt"), &cases());
}

#[test]
fn no_field_is_left_out() {
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for case in cases() {
        seen.entry(case.name).or_default().extend(field_numbers(&case.bytes));
    }
    let declared: BTreeMap<String, BTreeSet<u64>> = SOURCES.iter().flat_map(|source| declared(source)).collect();
    assert_eq!(seen, declared, "left: fields that golden bytes have; right: fields that the source declares");
}

#[test]
fn codes_keep_their_numbers() {
    let numbers: Vec<String> =
        (1..=20).map(|code| Error::from(Failure { code, ..Failure::default() }).code.as_str().to_owned()).collect();
    assert_eq!(
        numbers.join(" "),
        "invalid_argument limit_exceeded not_allowed not_found conflict out_of_order already_accepted replaced \
         unauthenticated token_expired recalled busy read_only outcome_unknown unreachable protocol corrupt poisoned io \
         unusable"
    );
    for code in Code::ALL {
        let error = Error { limit: Some("limit".into()), value: Some(7), ..Error::new(code, "message") };
        assert_eq!(Error::from(Failure::from(&error)), error);
    }
    for unknown in [0, 21, u32::MAX] {
        assert_eq!(Error::from(Failure { code: unknown, ..Failure::default() }).code, Code::Protocol);
    }
}

/// The numbers of a message's fields, as its bytes have them.
fn field_numbers(mut bytes: &[u8]) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    while !bytes.is_empty() {
        let key = varint::take(&mut bytes).unwrap();
        let value = varint::take(&mut bytes).unwrap();
        match key & 7 {
            0 => {}
            2 => bytes = &bytes[value as usize..],
            other => panic!("no message uses the wire type {other}"),
        }
        numbers.insert(key >> 3);
    }
    numbers
}

/// The messages that a source declares and the numbers of their fields; those of choices stand at the message itself.
fn declared(source: &str) -> Vec<(String, BTreeSet<u64>)> {
    let mut messages: Vec<(String, BTreeSet<u64>)> = Vec::new();
    let mut is_message = false;
    for line in source.lines() {
        if line.starts_with("#[derive(") {
            is_message = line.contains("prost::Message");
        } else if let Some(rest) = line.strip_prefix("pub struct ").filter(|_| is_message) {
            messages.push((rest.split_whitespace().next().unwrap().to_owned(), BTreeSet::new()));
        } else if let Some((_, rest)) =
            line.trim_end_matches(")]").split_once("tag").filter(|_| line.starts_with("    #["))
        {
            let numbers = rest.trim_start_matches('s').trim_start_matches(" = ").trim_matches('"');
            let (_, fields) = messages.last_mut().unwrap();
            fields.extend(numbers.split(", ").map(|number| number.parse::<u64>().unwrap()));
        }
    }
    assert!(!messages.is_empty());
    messages
}
