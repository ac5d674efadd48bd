//! Who may do what: every call, by every role, inside and outside of the intervals (promise P7).
//!
//! The expectations are the interface's table, written out by hand. `ok`: done; `same`: nothing to be done; `no`:
//! not allowed; `none`: as if there were no such thing; `bad`: makes no sense for this kind; `-`: nobody has this role.

use crate::fixture::{Store, conversation, send, session};
use highwater_engine::command::{Caller, Command};
use highwater_engine::entry::{Body, HistoryRange, Start, SyncLimits, What};
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::id::Seq;
use highwater_engine::proto::record::{Fanout, Kind, Role};
use highwater_engine::{Engine, Options, Outcome};
use std::sync::Arc;

/// The columns of the tables.
const ROLES: [&str; 6] = ["stranger", "former", "member", "admin", "owner", "service"];

/// Every call on a conversation of each kind. A direct one has sides (`member`) only.
#[rustfmt::skip]
const CALLS: [(&str, Kind, [&str; 6]); 48] = [
    //                                     stranger former  member  admin   owner   service
    ("send", Kind::Group,                 ["none", "no",   "ok",   "ok",   "ok",   "ok"]),
    ("send", Kind::Channel,               ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("send", Kind::Direct,                ["none", "-",    "ok",   "-",    "-",    "none"]),
    ("edit own", Kind::Group,             ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("edit own", Kind::Channel,           ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("edit own", Kind::Direct,            ["none", "-",    "ok",   "-",    "-",    "-"]),
    ("edit another's", Kind::Group,       ["none", "no",   "no",   "no",   "no",   "none"]),
    ("edit another's", Kind::Channel,     ["none", "no",   "no",   "no",   "no",   "none"]),
    ("edit another's", Kind::Direct,      ["none", "-",    "no",   "-",    "-",    "none"]),
    ("recall own", Kind::Group,           ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("recall own", Kind::Channel,         ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("recall own", Kind::Direct,          ["none", "-",    "ok",   "-",    "-",    "-"]),
    ("recall another's", Kind::Group,     ["none", "no",   "no",   "ok",   "ok",   "none"]),
    ("recall another's", Kind::Channel,   ["none", "no",   "no",   "ok",   "ok",   "none"]),
    ("recall another's", Kind::Direct,    ["none", "-",    "no",   "-",    "-",    "none"]),
    ("add", Kind::Group,                  ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("add", Kind::Channel,                ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("add", Kind::Direct,                 ["none", "-",    "no",   "-",    "-",    "no"]),
    ("remove a member", Kind::Group,      ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("remove a member", Kind::Channel,    ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("remove a member", Kind::Direct,     ["none", "-",    "no",   "-",    "-",    "no"]),
    ("remove the owner", Kind::Group,     ["none", "no",   "no",   "no",   "bad",  "ok"]),
    ("remove the owner", Kind::Channel,   ["none", "no",   "no",   "no",   "bad",  "ok"]),
    ("join", Kind::Group,                 ["none", "no",   "same", "same", "same", "-"]),
    ("join", Kind::Channel,               ["none", "no",   "same", "same", "same", "-"]),
    ("join when open", Kind::Channel,     ["ok",   "ok",   "same", "same", "same", "-"]),
    ("join", Kind::Direct,                ["none", "-",    "same", "-",    "-",    "-"]),
    ("leave", Kind::Group,                ["none", "same", "ok",   "ok",   "no",   "-"]),
    ("leave", Kind::Channel,              ["none", "same", "ok",   "ok",   "no",   "-"]),
    ("leave", Kind::Direct,               ["none", "-",    "no",   "-",    "-",    "-"]),
    ("change a role", Kind::Group,        ["none", "no",   "no",   "no",   "ok",   "ok"]),
    ("change a role", Kind::Channel,      ["none", "no",   "no",   "no",   "ok",   "ok"]),
    ("change a role", Kind::Direct,       ["none", "-",    "no",   "-",    "-",    "no"]),
    ("set history", Kind::Group,          ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("set history", Kind::Channel,        ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("set history", Kind::Direct,         ["none", "-",    "no",   "-",    "-",    "bad"]),
    ("set open", Kind::Group,             ["none", "no",   "no",   "bad",  "bad",  "bad"]),
    ("set open", Kind::Channel,           ["none", "no",   "no",   "ok",   "ok",   "ok"]),
    ("pin the fan-out", Kind::Group,      ["none", "no",   "no",   "no",   "no",   "ok"]),
    ("pin the fan-out", Kind::Channel,    ["none", "no",   "no",   "no",   "no",   "ok"]),
    ("mute", Kind::Group,                 ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("mute", Kind::Direct,                ["none", "-",    "ok",   "-",    "-",    "-"]),
    ("read mark", Kind::Group,            ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("read mark", Kind::Channel,          ["none", "no",   "ok",   "ok",   "ok",   "-"]),
    ("read mark", Kind::Direct,           ["none", "-",    "ok",   "-",    "-",    "-"]),
    ("history", Kind::Group,              ["none", "ok",   "ok",   "ok",   "ok",   "-"]),
    ("members", Kind::Group,              ["none", "no",   "ok",   "ok",   "ok",   "ok"]),
    ("members", Kind::Channel,            ["none", "no",   "ok",   "ok",   "ok",   "ok"]),
];

/// Where a member that left and came back finds messages, and what it may see of them.
///
/// | | before its first interval | in it | between both | in the second | after it, once it has left again |
const PLACES: [&str; 5] = ["before", "first", "between", "second", "after"];
const SEEN: [(&str, [bool; 5]); 4] = [
    ("a member, history off", [false, true, false, true, true]),
    ("a member, history on", [true, true, false, true, true]),
    ("a former member, history off", [false, true, false, true, false]),
    ("a former member, history on", [false, true, false, true, false]),
];

fn name(text: &str) -> Arc<str> {
    text.into()
}

fn caller(role: &str) -> Caller {
    if role == "service" { Caller::Service } else { Caller::User(name(role)) }
}

fn run(engine: &Engine, command: Command) -> Outcome {
    engine.execute(command).unwrap()
}

/// Says something as the service may: in anybody's name, member or not.
fn say(engine: &Engine, author: &str, conversation: &str) -> Seq {
    let session = session(engine, author, "service's", true);
    match run(engine, send(session, session.last_client_seq + 1, conversation, format!("by {author}"))) {
        Outcome::Receipt(receipt) => receipt.seq,
        other => panic!("{other:?}"),
    }
}

/// A conversation with somebody in every role; its seqs of a message by each of them and of one by a bystander.
fn stage(engine: &Engine, kind: Kind, id: &str) {
    let users: &[&str] = if kind == Kind::Direct {
        &["member", "bystander"]
    } else {
        &["owner", "admin", "member", "former", "bystander"]
    };
    let users: Vec<Arc<str>> = users.iter().map(|user| name(user)).collect();
    run(engine, conversation(kind, id, &users));
    if kind == Kind::Direct {
        return;
    }
    let role =
        |user: &str, role| Command::Role { caller: Caller::Service, conversation: name(id), user: name(user), role };
    run(engine, role("admin", Role::Admin));
}

/// What is said in it by whom, so that everybody has something of its own; the former member leaves after that.
fn speak(engine: &Engine, kind: Kind, id: &str) -> Vec<(&'static str, Seq)> {
    if kind == Kind::Direct {
        let say = |author: &'static str| {
            let session = session(engine, author, "own", false);
            match run(engine, send(session, session.last_client_seq + 1, id, "own")) {
                Outcome::Receipt(receipt) => (author, receipt.seq),
                other => panic!("{other:?}"),
            }
        };
        return vec![say("member"), say("bystander")];
    }
    let said = ["owner", "admin", "member", "former", "bystander"].map(|author| (author, say(engine, author, id)));
    run(engine, Command::Leave { user: name("former"), conversation: name(id) });
    said.to_vec()
}

fn call(engine: &Engine, what: &str, kind: Kind, role: &str, id: &str) -> Result<Outcome, Error> {
    stage(engine, kind, id);
    let said = speak(engine, kind, id);
    let own = said.iter().find(|(author, _)| *author == role).map_or(said[0].1, |(_, seq)| *seq);
    let others = said.iter().find(|(author, _)| *author == "bystander").unwrap().1;
    let (by, user, conversation) = (caller(role), name(role), name(id));
    let numbered = || {
        // The service sends in the name of somebody who is no member.
        let author = if role == "service" { "stranger" } else { role };
        let session = session(engine, author, "own", role == "service");
        (session, session.last_client_seq + 1)
    };
    let settings =
        |open, history, fanout| Command::Settings { caller: by.clone(), conversation: name(id), open, history, fanout };
    let edit = |target| {
        let (session, client_seq) = numbered();
        Command::Edit { session, client_seq, conversation: name(id), target, body: "edited".into() }
    };
    let recall = |target| {
        let (session, client_seq) = numbered();
        Command::Recall { session, client_seq, conversation: name(id), target }
    };
    let remove =
        |member: &str| Command::Remove { caller: by.clone(), conversation: name(id), members: vec![name(member)] };
    engine.execute(match what {
        "send" => {
            let (session, client_seq) = numbered();
            send(session, client_seq, id, "hello")
        }
        "edit own" => edit(own),
        "edit another's" => edit(others),
        "recall own" => recall(own),
        "recall another's" => recall(others),
        "add" => Command::Add { caller: by, conversation, members: vec![name("newcomer")] },
        "remove a member" => remove("bystander"),
        "remove the owner" => remove("owner"),
        "join" => Command::Join { user, conversation },
        "join when open" => {
            let (caller, fanout) = (Caller::Service, None);
            run(engine, Command::Settings { caller, conversation: name(id), open: Some(true), history: None, fanout });
            Command::Join { user, conversation }
        }
        "leave" => Command::Leave { user, conversation },
        "change a role" => Command::Role { caller: by, conversation, user: name("bystander"), role: Role::Admin },
        "set history" => settings(None, Some(true), None),
        "set open" => settings(Some(true), None, None),
        "pin the fan-out" => settings(None, None, Some(Fanout::Read)),
        "mute" => Command::Mute { user, conversation, muted: true },
        "read mark" => Command::Read { user, conversation, through: others },
        "history" => return engine.history(role, id, HistoryRange::Newest, 0).map(|_| done()),
        "members" => return engine.members(&by, id, None, 0).map(|_| done()),
        other => panic!("no call {other:?}"),
    })
}

fn done() -> Outcome {
    // Any outcome that is not `Unchanged`.
    Outcome::Receipt(highwater_engine::Receipt {
        conversation: name(""),
        seq: Seq(1),
        position: highwater_engine::proto::id::Position(1),
        time_ms: 0,
        client_seq: 0,
        repeated: false,
    })
}

fn answer(outcome: &Result<Outcome, Error>) -> &'static str {
    match outcome {
        Ok(Outcome::Unchanged { .. }) => "same",
        Ok(_) => "ok",
        Err(error) => match error.code {
            Code::NotAllowed => "no",
            Code::NotFound => "none",
            Code::InvalidArgument => "bad",
            _ => "another error",
        },
    }
}

fn begin() -> (Store, Engine) {
    let store = Store::new(Options::default());
    let engine = store.open();
    for user in ["stranger", "former", "member", "admin", "owner", "bystander", "newcomer", "returner"] {
        run(&engine, Command::CreateUser { user: name(user) });
    }
    (store, engine)
}

#[test]
fn every_call_by_every_role() {
    let (_store, engine) = begin();
    let mut wrong = Vec::new();
    for (row, (what, kind, expected)) in CALLS.into_iter().enumerate() {
        for (role, expected) in ROLES.into_iter().zip(expected).filter(|(_, expected)| *expected != "-") {
            let outcome = call(&engine, what, kind, role, &format!("{row} {role}"));
            if answer(&outcome) != expected {
                wrong.push(format!("{what} in a {kind:?} by {role}: {expected} was expected, not {outcome:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whoever may not see a conversation gets the same answer as for one that does not exist.
#[test]
fn strangers_learn_nothing() {
    let (_store, engine) = begin();
    for (row, (what, kind, expected)) in CALLS.into_iter().enumerate().filter(|(_, row)| row.2[0] == "none") {
        assert_eq!(expected[0], "none");
        let id = format!("{row} secret");
        let there = call(&engine, what, kind, "stranger", &id).unwrap_err();
        // The same call, of a conversation that is not there.
        let absent = absent(&engine, what, "stranger", "nowhere");
        let Some(absent) = absent else { continue };
        assert_eq!(there.code, absent.code, "{what} in a {kind:?}");
        assert_eq!(there.message.replace(&id, "nowhere"), absent.message, "{what} in a {kind:?}");
    }
}

/// The answer to some of the calls when there is no such conversation.
fn absent(engine: &Engine, what: &str, role: &str, id: &str) -> Option<Error> {
    let (user, conversation) = (name(role), name(id));
    let by = caller(role);
    let outcome = match what {
        "send" => {
            let session = session(engine, role, "own", false);
            engine.execute(send(session, session.last_client_seq + 1, id, "hello"))
        }
        "add" => engine.execute(Command::Add { caller: by, conversation, members: vec![name("newcomer")] }),
        "join" => engine.execute(Command::Join { user, conversation }),
        "leave" => engine.execute(Command::Leave { user, conversation }),
        "mute" => engine.execute(Command::Mute { user, conversation, muted: true }),
        "read mark" => engine.execute(Command::Read { user, conversation, through: Seq(1) }),
        "history" => engine.history(role, id, HistoryRange::Newest, 0).map(|_| done()),
        "members" => engine.members(&by, id, None, 0).map(|_| done()),
        _ => return None,
    };
    outcome.err()
}

/// A user who left and came back, and perhaps left again, and a message of its own in every place.
fn intervals(engine: &Engine, id: &str, is_former: bool, history: bool, fanout: Fanout) -> [Seq; 5] {
    let change = |is_coming: bool| {
        let (caller, conversation, members) = (Caller::Service, name(id), vec![name("returner")]);
        let add = Command::Add { caller: caller.clone(), conversation: conversation.clone(), members: members.clone() };
        run(engine, if is_coming { add } else { Command::Remove { caller, conversation, members } });
    };
    run(engine, conversation(Kind::Group, id, &[name("owner"), name("member")]));
    let (caller, conversation, fanout) = (Caller::Service, name(id), Some(fanout));
    run(engine, Command::Settings { caller, conversation, open: None, history: Some(!history), fanout });
    let before = say(engine, "returner", id);
    change(true);
    let first = say(engine, "returner", id);
    change(false);
    let between = say(engine, "returner", id);
    change(true);
    let second = say(engine, "returner", id);
    if is_former {
        change(false);
    }
    let after = say(engine, "returner", id);
    let (caller, conversation) = (Caller::Service, name(id));
    run(engine, Command::Settings { caller, conversation, open: None, history: Some(history), fanout: None });
    [before, first, between, second, after]
}

#[test]
fn intervals_bound_what_is_seen() {
    let (_store, engine) = begin();
    for fanout in [Fanout::Write, Fanout::Read] {
        for (row, (who, seen)) in SEEN.into_iter().enumerate() {
            let (is_former, history) = (who.starts_with("a former"), who.ends_with("on"));
            let id = format!("{fanout:?} {row}");
            let seqs = intervals(&engine, &id, is_former, history, fanout);
            let read = engine.history("returner", &id, HistoryRange::After(Seq(0)), 0).unwrap();
            let delta = engine.sync("returner", Start::Beginning, SyncLimits::default()).unwrap();
            for ((place, seq), may_see) in PLACES.into_iter().zip(seqs).zip(seen) {
                let what = format!("a message {place}, {who}, {fanout:?}");
                assert_eq!(read.iter().any(|entry| entry.seq == seq), may_see, "history: {what}");
                // Sync goes by intervals alone.
                let is_synced = may_see && place != "before";
                let found = delta.records.iter().any(|entry| entry.conversation.as_ref() == id && entry.seq == seq);
                assert_eq!(found, is_synced, "sync: {what}");
                check_calls_that_name(&engine, &id, seq, may_see, is_former, &what);
            }
        }
    }
}

/// Calls that name a seq find it exactly if it is readable.
fn check_calls_that_name(engine: &Engine, id: &str, seq: Seq, may_see: bool, is_former: bool, what: &str) {
    let session = session(engine, "returner", "own", false);
    let client_seq = session.last_client_seq + 1;
    let expected = match (is_former, may_see) {
        (true, _) => "no",
        (false, true) => "ok",
        (false, false) => "none",
    };
    let mut quoting = send(session, client_seq, id, "quoting");
    if let Command::Send(send) = &mut quoting {
        send.quote = Some(seq);
    }
    let quoted = engine.execute(quoting);
    assert_eq!(answer(&quoted), expected, "quote: {what}: {quoted:?}");
    let client_seq = client_seq + u64::from(quoted.is_ok());
    let edit = Command::Edit { session, client_seq, conversation: name(id), target: seq, body: "edited".into() };
    let edited = engine.execute(edit);
    assert_eq!(answer(&edited), expected, "edit: {what}: {edited:?}");
    let client_seq = client_seq + u64::from(edited.is_ok());
    let recalled = engine.execute(Command::Recall { session, client_seq, conversation: name(id), target: seq });
    assert_eq!(answer(&recalled), expected, "recall: {what}: {recalled:?}");
}

/// An edit made while its reader was away is not shown to it; a recall always is.
#[test]
fn redactions_outside_the_intervals() {
    let (_store, engine) = begin();
    run(&engine, conversation(Kind::Group, "g", &[name("owner"), name("former")]));
    let author = session(&engine, "owner", "own", false);
    let (edited, recalled) = (say(&engine, "owner", "g"), say(&engine, "owner", "g"));
    run(&engine, Command::Leave { user: name("former"), conversation: name("g") });
    let edit = |client_seq, body: &'static str| Command::Edit {
        session: author,
        client_seq,
        conversation: name("g"),
        target: edited,
        body: body.into(),
    };
    run(&engine, edit(1, "while it was away"));
    run(&engine, Command::Recall { session: author, client_seq: 2, conversation: name("g"), target: recalled });
    let shown = |user: &str, seq: Seq| {
        let entries = engine.history(user, "g", HistoryRange::After(Seq(seq.0 - 1)), 1).unwrap();
        match &entries[0].what {
            What::Message { body, .. } => body.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(shown("owner", edited), Body::Edited(body, _) if body == "while it was away"));
    assert_eq!(shown("former", edited), Body::Original("by owner".into()));
    assert_eq!(shown("former", recalled), Body::Recalled);
    let (caller, members) = (Caller::Service, vec![name("former")]);
    run(&engine, Command::Add { caller, conversation: name("g"), members });
    assert_eq!(shown("former", edited), Body::Original("by owner".into()), "the edit stays outside its intervals");
    run(&engine, edit(3, "now that it is back"));
    assert!(matches!(shown("former", edited), Body::Edited(body, _) if body == "now that it is back"));
}

/// Followers of a channel do not learn who else follows it.
#[test]
fn followers_see_themselves() {
    let (_store, engine) = begin();
    stage(&engine, Kind::Channel, "news");
    let list = |role: &str| {
        let page = engine.members(&caller(role), "news", None, 0).unwrap();
        let names: Vec<String> = page.members.iter().map(|member| member.user.to_string()).collect();
        (names, page.count)
    };
    assert_eq!(list("member"), (vec!["member".to_owned()], 5));
    for role in ["admin", "owner", "service"] {
        assert_eq!(list(role).0.len(), 5, "{role}");
    }
    let (caller, members) = (Caller::Service, vec![name("newcomer"), name("returner")]);
    run(&engine, Command::Add { caller, conversation: name("news"), members });
    for follower in ["member", "newcomer"] {
        let delta = engine.sync(follower, Start::Beginning, SyncLimits::default()).unwrap();
        for entry in delta.records {
            if let What::Create { members, .. } | What::Add { members } = entry.what {
                assert!(members.iter().all(|member| member.as_ref() == follower), "{follower} is told of {members:?}");
            }
        }
    }
}
