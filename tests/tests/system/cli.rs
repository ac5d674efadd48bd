//! `hw` as programs use it: exit codes, lines of JSON, and what it keeps between runs.

use crate::fixture::{PATIENCE, Server, program, send_signal};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// `hw` with a state directory of its own.
struct Hw {
    state: PathBuf,
    data: PathBuf,
}

/// What a run left.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The lines of a run that went well.
    fn lines(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.stderr, "", "what is no data goes to standard error, and there was nothing to say");
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn line(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines.into_iter().next().unwrap()
    }

    /// The error of a run that failed.
    fn error(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        let error: Value = serde_json::from_str(&self.stderr).unwrap();
        assert_eq!(error["kind"], "error");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        assert!(error["retryable"].is_boolean(), "{error}");
        error
    }
}

impl Hw {
    fn new(server: &Server) -> Self {
        Self { state: server.scratch().join("state"), data: server.data.clone() }
    }

    fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("hw"));
        command.arg("--dev").arg(&self.data).arg("--state").arg(&self.state).env_remove("HIGHWATER_TOKEN");
        if !user.is_empty() {
            command.args(["--as", user]);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, user: &str, arguments: &[&str]) -> Ran {
        let output = self.command(user, arguments).output().unwrap();
        Ran {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self, user: &str, arguments: &[&str]) -> Ran {
        self.run(user, &[&["--json"], arguments].concat())
    }
}

/// Fields of a line, in the order asked for.
fn pick<const N: usize>(line: &Value, fields: [&str; N]) -> [Value; N] {
    fields.map(|field| line[field].clone())
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[test]
fn a_message_goes_there_and_back() {
    let server = Server::start();
    let hw = Hw::new(&server);
    let receipt = hw.json("ann", &["send", "--to", "bob", "good morning"]).line();
    assert_eq!(
        pick(&receipt, ["kind", "seq", "client_seq", "repeated"]),
        [json!("receipt"), json!(2), json!(1), json!(false)]
    );
    let conversation = receipt["conversation"].as_str().unwrap();
    assert!(conversation.starts_with("dm:"), "{receipt}");

    let lines = hw.json("bob", &["sync"]).lines();
    let create = &lines[0];
    assert_eq!(pick(create, ["kind", "type", "seq", "owner"]), [json!("create"), json!("direct"), json!(1), json!("")]);
    let message = &lines[1];
    assert_eq!(
        pick(message, ["kind", "seq", "from", "device", "text", "conversation", "position", "time"]),
        [
            json!("message"),
            json!(2),
            json!("ann"),
            json!("cli"),
            json!("good morning"),
            json!(conversation),
            receipt["position"].clone(),
            receipt["time"].clone()
        ]
    );
    let checkpoint = lines.last().unwrap();
    assert_eq!(pick(checkpoint, ["kind", "caught_up"]), [json!("checkpoint"), json!(true)]);
    assert!(checkpoint["to"].as_u64() >= receipt["position"].as_u64() && checkpoint["checkpoint"].is_string());

    // The next run goes on where this one ended.
    let again = hw.json("bob", &["sync"]).lines();
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0]["from"], checkpoint["to"]);
    let reply = hw.json("bob", &["send", "--conversation", conversation, "--quote", "2", "--mention", "ann", "hello"]);
    assert_eq!(reply.line()["seq"], 3);
    let news = hw.json("bob", &["sync"]).lines();
    let messages = of_kind(&news, "message");
    assert_eq!(messages.len(), 1, "own messages are included: {news:?}");
    assert_eq!(pick(messages[0], ["text", "quote", "mentions"]), [json!("hello"), json!(2), json!(["ann"])]);
    let all = hw.json("bob", &["sync", "--from-start"]).lines();
    assert_eq!(of_kind(&all, "message").len(), 2);
    let snapshot = hw.json("bob", &["sync", "--snapshot"]).lines();
    assert_eq!(pick(&snapshot[0], ["kind", "reason"]), [json!("reset"), json!("requested")]);
    assert_eq!(
        pick(&snapshot[1], ["kind", "conversation", "type", "head", "unread", "ranges"]),
        [json!("conversation"), json!(conversation), json!("direct"), json!(3), json!(0), json!([[1, 3]])]
    );
}

#[test]
fn what_was_sent_stays_one_whatever_else_it_goes_through() {
    let server = Server::start();
    let hw = Hw::new(&server);
    hw.json("ann", &["create", "--kind", "group", "--id", "g", "--member", "bob"]).line();
    for text in ["one", "two", "three", "four"] {
        hw.json("ann", &["send", "--conversation", "g", text]).line();
    }
    let repeated = hw.json("ann", &["create", "--kind", "group", "--id", "g", "--member", "bob"]).line();
    assert_eq!(repeated, json!({"kind": "unchanged", "conversation": "g"}));

    let edit = hw.json("ann", &["edit", "--conversation", "g", "--seq", "3", "TWO"]).line();
    assert_eq!(pick(&edit, ["kind", "seq", "target", "text"]), [json!("edit"), json!(6), json!(3), json!("TWO")]);
    let recall = hw.json("ann", &["recall", "--conversation", "g", "--seq", "4"]).line();
    assert_eq!(pick(&recall, ["kind", "seq", "target"]), [json!("recall"), json!(7), json!(4)]);
    let history = hw.json("bob", &["history", "--conversation", "g"]).lines();
    let seqs: Vec<u64> = history.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(pick(&history[2], ["text", "edited"]), [json!("TWO"), edit["time"].clone()]);
    assert_eq!(pick(&history[3], ["recalled", "text"]), [json!(true), Value::Null]);
    let seqs = |arguments: &[&str]| -> Vec<u64> {
        let lines = hw.json("bob", &[&["history", "--conversation", "g"], arguments].concat()).lines();
        lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(&["--limit", "2"]), [6, 7]);
    assert_eq!(seqs(&["--before", "4", "--limit", "2"]), [2, 3]);
    assert_eq!(seqs(&["--after", "4", "--limit", "2"]), [5, 6]);
    assert_eq!(hw.json("ann", &["edit", "--conversation", "g", "--seq", "4", "x"]).error(1)["code"], "recalled");

    // Three of four messages are left to be read, and then none.
    let unread = |user: &str| hw.json(user, &["conversations"]).line();
    assert_eq!(pick(&unread("bob"), ["unread", "read", "head", "muted"]), [json!(3), json!(0), json!(7), json!(false)]);
    assert_eq!(unread("ann")["unread"], 0);
    let read = hw.json("bob", &["read", "--conversation", "g", "--seq", "7"]).line();
    assert_eq!(pick(&read, ["kind", "through", "seq"]), [json!("read"), json!(7), Value::Null]);
    assert_eq!(unread("bob")["unread"], 0);
    assert_eq!(hw.json("bob", &["read", "--conversation", "g", "--seq", "3"]).line()["kind"], "unchanged");
    hw.json("bob", &["mute", "--conversation", "g"]).line();
    assert_eq!(unread("bob")["muted"], true);
    hw.json("bob", &["mute", "--conversation", "g", "off"]).line();
    assert_eq!(unread("bob")["muted"], false);

    let members = hw.json("bob", &["members", "--conversation", "g"]).lines();
    let roles: Vec<_> = members.iter().map(|line| pick(line, ["kind", "user", "role"])).collect();
    assert_eq!(
        roles,
        [[json!("member"), json!("ann"), json!("owner")], [json!("member"), json!("bob"), json!("member")]]
    );
    let devices = hw.json("ann", &["devices"]).lines();
    assert_eq!(pick(&devices[0], ["kind", "device", "client_seq"]), [json!("device"), json!("cli"), json!(6)]);
    hw.json("ann", &["devices", "--revoke", "cli"]).lines();
    assert_eq!(hw.json("ann", &["devices"]).lines(), [] as [Value; 0]);
    // The number goes on after it: nothing that was sent before can be sent again.
    assert_eq!(hw.json("ann", &["send", "--conversation", "g", "back"]).line()["client_seq"], 7);
}

#[test]
fn the_server_may_be_away() {
    let mut server = Server::start();
    let hw = Hw::new(&server);
    hw.json("ann", &["send", "--to", "bob", "before"]).line();
    server.kill();
    let queued = hw.json("ann", &["send", "--to", "bob", "kept"]).error(3);
    assert_eq!(pick(&queued, ["code", "queued", "retryable"]), [json!("unreachable"), json!(true), json!(true)]);
    let dropped = hw.json("ann", &["send", "--no-queue", "--to", "bob", "dropped"]).error(3);
    assert_eq!(dropped["queued"], Value::Null);
    assert_eq!(hw.json("bob", &["sync"]).error(3)["code"], "unreachable");
    server.restart();
    let flushed = hw.json("ann", &["send", "--flush"]).lines();
    assert_eq!(flushed.len(), 1, "{flushed:?}");
    assert_eq!(pick(&flushed[0], ["kind", "seq", "client_seq"]), [json!("receipt"), json!(3), json!(2)]);
    assert_eq!(hw.json("ann", &["send", "--flush"]).lines(), [] as [Value; 0], "once");
    server.kill();
    hw.json("ann", &["send", "--to", "bob", "kept again"]).error(3);
    server.restart();
    hw.json("ann", &["send", "--to", "bob", "after"]).line();
    let lines = hw.json("bob", &["sync"]).lines();
    let texts: Vec<_> = of_kind(&lines, "message").iter().map(|line| line["text"].clone()).collect();
    assert_eq!(texts, ["before", "kept", "kept again", "after"]);
}

#[test]
fn tail_ends_when_it_is_told_to() {
    let server = Server::start();
    let hw = Hw::new(&server);
    for number in 1..=5 {
        hw.json("ann", &["send", "--to", "bob", &number.to_string()]).line();
    }
    // A record more is there than is asked for: the create.
    let first = hw.json("bob", &["tail", "--count", "3"]).lines();
    let records = |lines: &[Value]| lines.iter().filter(|line| line["position"].is_u64()).count();
    assert_eq!(records(&first), 3, "{first:?}");
    let rest = hw.json("bob", &["tail", "--timeout", "0.5"]).lines();
    assert_eq!(records(&rest), 3, "{rest:?}");
    let bound = first.iter().chain(&rest).filter(|line| line["kind"] == "checkpoint").collect::<Vec<_>>();
    for pair in bound.windows(2) {
        assert_eq!(pair[1]["from"], pair[0]["to"], "checkpoints join");
    }

    // Live: a message that is sent while it waits; and another run of the same device at the same time may send.
    let mut tail = hw.command("bob", &["--json", "tail", "--count", "2"]).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // The test may have failed.
            let _ = tell.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let next = || told.recv_timeout(PATIENCE).unwrap();
    // A run that was asked for a count says more than once that it has caught up.
    let next_record = || std::iter::repeat_with(next).find(|line| line["kind"] != "checkpoint").unwrap();
    assert_eq!(pick(&next(), ["kind", "caught_up"]), [json!("checkpoint"), json!(true)]);
    // The reading half of the state is in use, and says so.
    assert_eq!(hw.json("bob", &["sync"]).error(1)["code"], "busy");
    hw.json("ann", &["send", "--to", "bob", "live"]).line();
    assert_eq!(next_record()["text"], "live");
    hw.json("bob", &["send", "--to", "ann", "reply"]).line();
    assert_eq!(next_record()["text"], "reply");
    assert_eq!(tail.wait().unwrap().code(), Some(0));
}

#[test]
fn a_killed_run_may_repeat_lines_and_never_skips_one() {
    const COUNT: usize = 6;
    let server = Server::start();
    let hw = Hw::new(&server);
    for number in 0..COUNT {
        hw.json("ann", &["send", "--to", "bob", &number.to_string()]).line();
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut tail = hw.command("bob", &["--json", "tail"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        send_signal(tail.id(), libc::SIGKILL);
        tail.wait().unwrap();
        seen.extend(std::iter::once(line));
        seen.extend(lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()));
    }
    seen.extend(hw.json("bob", &["sync"]).lines());
    let texts: std::collections::BTreeSet<String> =
        of_kind(&seen, "message").iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, (0..COUNT).map(|number| number.to_string()).collect());
}

#[test]
fn mistakes_have_their_exit_code() {
    let server = Server::start();
    let hw = Hw::new(&server);
    hw.json("ann", &["create", "--kind", "group", "--id", "g", "--member", "bob"]).line();
    // Wrong on the command line: 2, and nothing is asked of the server.
    for arguments in [
        &["send", "hi"][..],
        &["send", "--to", "bob", "--conversation", "g", "hi"],
        &["tail", "--count", "0"],
        &["tail", "--timeout", "-1"],
        &["history", "--conversation", "g", "--before", "3", "--after", "1"],
        &["create", "--kind", "crowd", "--id", "x"],
        &["settings", "--conversation", "g"],
        &["frobnicate"],
    ] {
        let error = hw.json("ann", arguments).error(2);
        assert_eq!(pick(&error, ["code", "retryable"]), [json!("usage"), json!(false)]);
        assert_eq!(hw.run("ann", arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(hw.json("", &["sync"]).error(2)["code"], "usage");
    assert_eq!(hw.json("a\nb", &["sync"]).error(2)["code"], "usage");
    // Not allowed, not found, not believed: 4.
    let no_such = hw.json("ann", &["history", "--conversation", "nowhere"]).error(4);
    assert_eq!(no_such["code"], "not_found");
    assert_eq!(hw.json("eve", &["history", "--conversation", "g"]).error(4)["code"], "not_found");
    assert_eq!(hw.json("bob", &["remove", "--conversation", "g", "--member", "ann"]).error(4)["code"], "not_allowed");
    let output = Command::new(program("hw"))
        .args(["--json", "--server", &server.address.to_string(), "--pin", &"00".repeat(32), "sync"])
        .env("HIGHWATER_TOKEN", server.token("ann"))
        .arg("--state")
        .arg(&hw.state)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "another certificate than the pinned one: {output:?}");
    // Refused: 1, with the limit's name and value.
    let long = "x".repeat(65);
    let error = hw.json("ann", &["add", "--conversation", "g", "--member", &long]).error(1);
    assert_eq!(pick(&error, ["code", "value"]), [json!("limit_exceeded"), json!(64)]);
    let mut send = hw.command("ann", &["--json", "send", "--conversation", "g", "-"]);
    let mut send = send.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    send.stdin.take().unwrap().write_all(&vec![b'x'; (64 << 10) + 1]).unwrap();
    let mut said = String::new();
    send.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(send.wait().unwrap().code(), Some(1));
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(pick(&error, ["limit", "value", "queued"]), [json!("body_bytes_max"), json!(65_536), Value::Null]);
    assert_eq!(hw.json("ann", &["send", "--flush"]).lines(), [] as [Value; 0], "a refused one is not kept");
}

#[test]
fn texts_come_back_byte_by_byte_and_are_shown_without_their_tricks() {
    let server = Server::start();
    let hw = Hw::new(&server);
    let text = "\u{1b}[31mred\u{7}\r\nnext line\u{202e}desrever\u{2066}x\u{2069}\u{9b}1m \"quoted\" \\ é 你好";
    hw.json("ann", &["send", "--to", "bob", text]).line();
    hw.json("ann", &["send", "--to", "bob", ""]).line();
    hw.json("ann", &["send", "--to", "bob", "--", "-5"]).line();
    let mut send =
        hw.command("ann", &["send", "--to", "bob", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    send.stdin.take().unwrap().write_all(&[0xff, 0, 0xfe]).unwrap();
    assert_eq!(send.wait().unwrap().code(), Some(0));
    let lines = hw.json("bob", &["sync"]).lines();
    let messages = of_kind(&lines, "message");
    assert_eq!(
        messages.iter().map(|line| line["text"].clone()).collect::<Vec<_>>(),
        [json!(text), json!(""), json!("-5"), Value::Null]
    );
    assert_eq!(messages[3]["body_base64"], "/wD+");

    let shown = hw.run("bob", &["sync", "--from-start"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let unsafe_char = |char: char| {
        (char.is_control() && char != '\n')
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!shown.stdout.chars().any(unsafe_char), "{:?}", shown.stdout);
    let line = shown.stdout.lines().find(|line| line.contains("desrever")).expect("it is shown");
    assert!(line.contains("next line") && line.contains("你好") && line.contains("\\u{1b}"), "{line}");
}
