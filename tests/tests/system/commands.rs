//! The command lines: exit codes, JSON, and wrong input.

use crate::process::{Stage, highwater, hw};
use highwater_tests::world::scratch;
use serde_json::Value;
use std::process::Output;

/// The objects printed, one a line.
fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn done(output: Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&output)
}

/// The one error object, of this exit code.
fn refused(output: Output, exit: i32, code: &str) -> Value {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(output.stdout.is_empty(), "errors go to standard error: {}", String::from_utf8_lossy(&output.stdout));
    let error: Value = serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((&error["kind"], &error["code"]), (&Value::from("error"), &Value::from(code)), "{error}");
    assert!(
        error["message"].as_str().is_some_and(|message| !message.is_empty()) && error["retryable"].is_boolean(),
        "{error}"
    );
    error
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

#[test]
fn what_is_sent_is_what_is_synced() {
    let stage = Stage::new();
    let receipt = &done(stage.hw("ann", &["send", "--to", "bob", "good morning"]))[0];
    for (field, value) in [("kind", "receipt"), ("conversation", "dm:ann,bob")] {
        assert_eq!(receipt[field], value, "{receipt}");
    }
    assert_eq!((&receipt["seq"], &receipt["client_seq"], &receipt["repeated"]), (&2.into(), &1.into(), &false.into()));
    assert!(receipt["position"].is_u64() && receipt["time"].is_u64(), "{receipt}");
    done(stage.hw("ann", &["send", "--to", "bob", "--quote", "2", "--mention", "bob", "and more"]));
    let synced = done(stage.hw("bob", &["sync"]));
    assert_eq!(kinds(&synced), ["create", "message", "message", "checkpoint"]);
    let message = &synced[2];
    assert_eq!(
        (&message["from"], &message["device"], &message["text"]),
        (&"ann".into(), &"cli".into(), &"and more".into())
    );
    assert_eq!((&message["quote"], &message["mentions"]), (&2.into(), &serde_json::json!(["bob"])), "{message}");
    assert_eq!(synced[3]["caught_up"], true);
    assert_eq!(synced[3]["from"], 0);
    // The next one goes on from the stored checkpoint.
    assert_eq!(kinds(&done(stage.hw("bob", &["sync"]))), ["checkpoint"]);
    done(stage.hw("ann", &["edit", "--conversation", "dm:ann,bob", "--seq", "2", "good evening"]));
    done(stage.hw("ann", &["recall", "--conversation", "dm:ann,bob", "--seq", "3"]));
    assert_eq!(kinds(&done(stage.hw("bob", &["sync"]))), ["edit", "recall", "checkpoint"]);
    let fresh = done(stage.hw("bob", &["sync", "--from-start"]));
    let messages: Vec<&Value> = fresh.iter().filter(|object| object["kind"] == "message").collect();
    assert_eq!(messages[0]["text"], "good evening");
    assert!(messages[0]["edited"].is_u64());
    assert_eq!((&messages[1]["recalled"], messages[1].get("text")), (&true.into(), None));
    let snapshot = done(stage.hw("bob", &["sync", "--snapshot"]));
    assert_eq!(&kinds(&snapshot)[..2], ["reset", "conversation"]);
    assert_eq!(snapshot[1]["unread"], 1, "{}", snapshot[1]);
}

#[test]
fn conversations_and_their_members() {
    let stage = Stage::new();
    let created = done(stage.hw("ann", &["create", "--kind", "group", "--id", "two words", "--member", "bob"]));
    assert_eq!(
        (&created[0]["kind"], &created[0]["type"], &created[0]["owner"]),
        (&"create".into(), &"group".into(), &"ann".into())
    );
    let again = done(stage.hw("ann", &["create", "--kind", "group", "--id", "two words"]));
    assert_eq!((&again[0]["kind"], &again[0]["conversation"]), (&"unchanged".into(), &"two words".into()));
    let own = |arguments: &[&str]| {
        let mut all = vec![arguments[0], "--conversation", "two words"];
        all.extend(&arguments[1..]);
        done(stage.hw("ann", &all))
    };
    assert_eq!(kinds(&own(&["add", "--member", "cy"])), ["add"]);
    assert_eq!(kinds(&own(&["role", "--user", "bob", "admin"])), ["role"]);
    assert_eq!(kinds(&own(&["remove", "--member", "cy"])), ["remove"]);
    assert_eq!(kinds(&own(&["settings", "--history", "on"])), ["settings"]);
    let members = own(&["members"]);
    assert_eq!(kinds(&members), ["member", "member"]);
    assert_eq!(members[1]["role"], "admin", "{}", members[1]);
    own(&["send", "hello"]);
    let listed = done(stage.hw("bob", &["conversations"]));
    assert_eq!((&listed[0]["unread"], &listed[0]["last"]["text"]), (&1.into(), &"hello".into()), "{}", listed[0]);
    let head = listed[0]["head"].to_string();
    done(stage.hw("bob", &["read", "--conversation", "two words", "--seq", &head]));
    assert_eq!(done(stage.hw("bob", &["conversations"]))[0]["unread"], 0);
    let history = done(stage.hw("bob", &["history", "--conversation", "two words", "--limit", "2"]));
    assert_eq!(history.last().unwrap()["text"], "hello");
    let devices = done(stage.hw("ann", &["devices"]));
    assert_eq!((&devices[0]["device"], &devices[0]["client_seq"]), (&"cli".into(), &1.into()));
}

#[test]
fn wrong_input_has_its_exit_code() {
    let stage = Stage::new();
    done(stage.hw("ann", &["create", "--kind", "group", "--id", "g", "--member", "bob"]));
    refused(stage.hw("eve", &["send", "--conversation", "g", "hello"]), 4, "not_found");
    refused(stage.hw("eve", &["history", "--conversation", "g"]), 4, "not_found");
    refused(stage.hw("bob", &["add", "--conversation", "g", "--member", "eve"]), 4, "not_allowed");
    refused(stage.hw("bob", &["settings", "--conversation", "g", "--history", "on"]), 4, "not_allowed");
    let large = "x".repeat(2_001);
    let error = refused(stage.hw("bob", &["send", "--conversation", "g", &large]), 1, "limit_exceeded");
    assert_eq!((&error["limit"], &error["value"]), (&"body_bytes_max".into(), &2_000.into()));
    assert_eq!(stage.hw("bob", &["no-such-command"]).status.code(), Some(2));
    assert_eq!(stage.hw("bob", &["send", "--to", "ann", "--conversation", "g", "both"]).status.code(), Some(2));
    let long = "x".repeat(65);
    let named = stage.hw(&long, &["sync"]).status.code();
    assert!(matches!(named, Some(1 | 2)), "a name that is too long: {named:?}");
    // A send that cannot be delivered says that it is kept.
    let state = scratch();
    let dev = stage.data.path().to_str().unwrap();
    let nowhere =
        ["--json", "--server", "127.0.0.1:1", "--dev", dev, "--as", "bob", "send", "--conversation", "g", "kept"];
    let error = refused(hw(state.path(), &nowhere), 3, "unreachable");
    assert_eq!((&error["queued"], &error["retryable"]), (&true.into(), &true.into()), "{error}");
}

#[test]
fn the_servers_command_line() {
    let stage = Stage::new();
    let data = stage.data.path().to_str().unwrap();
    let token = highwater(&["token", "--user", "ann", "--data", data]);
    assert_eq!(token.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&token.stdout).trim().split('.').count(), 3, "a JWT has three parts");
    // While a server has the store open, nobody verifies it or serves it.
    assert_ne!(highwater(&["verify", "--data", data]).status.code(), Some(0));
    let second = highwater(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data", data]);
    assert_ne!(second.status.code(), Some(0));
    assert!(!second.stderr.is_empty());
    for arguments in [&["serve"][..], &["serve", "--listen", "nonsense"], &["token"], &["nonsense"]] {
        let output = highwater(arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says what is missing");
    }
    done(stage.hw("ann", &["send", "--to", "bob", "hello"]));
    let Stage { server, data, .. } = stage;
    assert_eq!(server.terminate(), Some(0));
    let data = data.path().to_str().unwrap();
    let verified = highwater(&["verify", "--data", data]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(highwater(&["inspect", "--data", data]).status.code(), Some(0));
    // Damage is found and named.
    let log = std::path::Path::new(data).join("log");
    let segment = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let segment =
        segment.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "seg")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes.windows(5).position(|window| window == b"hello").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = highwater(&["verify", "--data", data]);
    assert_eq!(damaged.status.code(), Some(5));
    let said = String::from_utf8_lossy(&damaged.stdout).into_owned() + &String::from_utf8_lossy(&damaged.stderr);
    assert!(said.contains(segment.file_name().unwrap().to_str().unwrap()), "it names the file: {said}");
}
