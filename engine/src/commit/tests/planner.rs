//! Fan-out by cost: the mode follows how often members look, and no device can tell.

use super::{Fixture, message, receipt, session};
use crate::command::{Caller, Command, Create, Destination};
use crate::entry::{Start, SyncLimits, What};
use crate::options::{FanoutCosts, FanoutThresholds};
use crate::{Engine, Options};
use highwater_proto::record::Kind;
use std::sync::Arc;

const MEMBERS: usize = 100;

fn open(fixture: &Fixture) -> Engine {
    // What a hundred appends cost, two checks cost: a regret of 64 records is reached at once.
    let costs = FanoutCosts { append_ns: 1_000, pull_check_ns: 50_000, regret_ns_max: 1_000_000 };
    let fanout = FanoutThresholds {
        write_members_max: 1_000,
        dwell_ms_min: 0,
        costs: Some(costs),
        ..FanoutThresholds::default()
    };
    Engine::open(fixture.directory.path(), Options { fanout, ..fixture.options() }).unwrap()
}

fn mode(engine: &Engine) -> &'static str {
    if engine.dump().unwrap().contains("mode Read") { "read" } else { "write" }
}

/// Messages that a member has, from the start.
fn messages(engine: &Engine, user: &str) -> usize {
    let delta = engine.sync(user, Start::Beginning, SyncLimits::default()).unwrap();
    assert!(delta.caught_up && delta.gaps.is_empty());
    delta.records.iter().filter(|entry| matches!(entry.what, What::Message { .. })).count()
}

#[test]
fn a_group_is_fanned_out_on_read_while_nobody_looks_and_back_once_its_members_do() {
    let fixture = Fixture::new();
    let engine = open(&fixture);
    let members: Vec<Arc<str>> = (0..MEMBERS).map(|n| Arc::from(format!("u{n}"))).collect();
    let create = Create {
        caller: Caller::Service,
        kind: Kind::Group,
        conversation: Some("g".into()),
        owner: None,
        members,
        open: false,
        history: false,
    };
    engine.execute(Command::Create(create)).unwrap();
    let sender = session(&engine, "u0", "phone", Box::new(|| {}));
    let mut sent = 0;
    let mut send = |count: u64| {
        for _ in 0..count {
            sent += 1;
            receipt(engine.execute(message(sender, sent, Destination::Conversation("g".into()), "hello")));
        }
        sent as usize
    };
    send(10);
    assert_eq!(mode(&engine), "write", "there is nothing to regret yet");
    let so_far = send(100);
    assert_eq!(mode(&engine), "read", "a hundred appends for each message, and nobody looked");
    for user in ["u0", "u57"] {
        assert_eq!(messages(&engine, user), so_far);
    }
    // A comes-and-goes does not undo it, though the group is small.
    let add = Command::Add { caller: Caller::Service, conversation: "g".into(), members: vec!["new".into()] };
    engine.execute(add).unwrap();
    assert_eq!(mode(&engine), "read");
    for _ in 0..10 {
        send(13);
        for n in 0..MEMBERS {
            messages(&engine, &format!("u{n}"));
        }
    }
    assert_eq!(mode(&engine), "write", "seven looks for each message cost more than a hundred appends");
    let all = send(5);
    assert_eq!(messages(&engine, "u99"), all, "whatever the mode was");
    // The decisions are records: without the planner the log says the same.
    let dump = engine.dump().unwrap();
    drop(engine);
    let reopened = fixture.open();
    let without_epoch = |dump: &str| dump.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_epoch(&reopened.dump().unwrap()), without_epoch(&dump));
}
