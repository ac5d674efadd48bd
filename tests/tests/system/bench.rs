//! `hw bench` against real servers: its counts, its errors, and what it says of servers that stall or are killed.

use crate::fixture::{PATIENCE, Server, program, send_signal};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A workload file, and the command that plays it.
fn command(server: &Server, workload: &Value, arguments: &[&str]) -> Command {
    let file = server.scratch().join("workload.json");
    std::fs::write(&file, workload.to_string()).unwrap();
    let mut command = Command::new(program("hw"));
    command.arg("--dev").arg(&server.data).args(arguments).arg("bench").arg("--workload").arg(file);
    command.stdin(Stdio::null()).env_remove("HIGHWATER_TOKEN");
    command
}

fn run(server: &Server, workload: &Value) -> Output {
    command(server, workload, &["--json"]).output().unwrap()
}

/// The report of a run that found nothing wrong.
fn report(server: &Server, workload: &Value) -> Value {
    let output = run(server, workload);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_kept(&report);
    report
}

/// The promises were kept.
fn assert_kept(report: &Value) {
    for violation in ["duplicates", "order_violations", "missing", "incomplete", "failed", "unanswered", "resets"] {
        assert_eq!(report[violation], 0, "{violation}: {report}");
    }
}

fn number(report: &Value, field: &str) -> f64 {
    report[field].as_f64().unwrap_or_else(|| panic!("{field}: {report}"))
}

#[test]
fn every_message_is_counted_once_for_each_who_reads_it() {
    let server = Server::start();
    let groups = json!({"users": 30, "devices_online": 30, "senders": 4, "in_flight": 8, "messages": 500,
        "groups": [{"members": 10, "count": 5}], "body_bytes": [{"bytes": 16}, {"bytes": 900, "weight": 0.5}]});
    let first = report(&server, &groups);
    let counts = |report: &Value| ["sent", "acknowledged", "deliveries"].map(|field| report[field].clone());
    assert_eq!(counts(&first), [json!(500), json!(500), json!(500 * 9)]);
    assert_eq!([&first["kind"], &first["groups"], &first["reconnects"]], [&json!("bench"), &json!(5), &json!(0)]);
    for field in ["ack_p50_ms", "ack_max_ms", "delivery_p50_ms", "delivery_p999_ms", "seconds", "sends_per_second"] {
        assert!(number(&first, field) > 0.0, "{field}: {first}");
    }
    // The same workload again: the same groups, in which the numbers go on, and only the new messages count.
    let second = report(&server, &groups);
    assert_eq!(counts(&second), counts(&first));
    assert_eq!(second["mark"], first["mark"]);
    let first_line = |arguments: &[&str]| {
        let mut command = Command::new(program("hw"));
        let output = command.arg("--dev").arg(&server.data).arg("--json").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str::<Value>(text.lines().next().unwrap_or_else(|| panic!("{output:?}"))).unwrap()
    };
    let head = |group: u32| {
        let name = format!("bench-{}-g{group}", first["mark"].as_str().unwrap());
        let member = first_line(&["members", "--conversation", &name]);
        let newest = ["--as", member["user"].as_str().unwrap(), "history", "--limit", "1", "--conversation", &name];
        first_line(&newest)["seq"].as_u64().unwrap()
    };
    let heads: u64 = (0..5).map(head).sum();
    assert_eq!(heads, 5 + 1_000, "five beginnings, and every message of two runs");

    // Two users, each on two devices.
    let direct = json!({"users": 2, "devices_online": 4, "senders": 2, "messages": 200, "direct": {"share": 1}});
    assert_eq!(counts(&report(&server, &direct)), [json!(200), json!(200), json!(400)]);
    // Nobody reads.
    let alone = json!({"users": 5, "devices_online": 0, "messages": 100, "groups": [{"members": 5}]});
    assert_eq!(counts(&report(&server, &alone)), [json!(100), json!(100), json!(0)]);
}

#[test]
fn readers_that_come_back_miss_nothing() {
    let server = Server::start();
    let workload = json!({"users": 12, "senders": 3, "rate_per_second": 300, "seconds": 3,
        "groups": [{"members": 12}], "reconnect": {"every_seconds": 0.7, "share": 0.5, "away_ms": 200}});
    let file = server.scratch().join("report.json");
    let output = command(&server, &workload, &["--json"]).arg("--report").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report, serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap());
    assert_kept(&report);
    // Four storms fit; one that hits readers on their way back leaves them alone.
    let reconnects = number(&report, "reconnects");
    assert!((6.0..=24.0).contains(&reconnects) && report["catch_ups"] == report["reconnects"], "{report}");
    assert!(number(&report, "catch_up_p50_ms") > 0.0 && number(&report, "delivery_p50_ms") < 200.0, "{report}");
    assert_eq!(report["deliveries"].as_u64().unwrap(), report["acknowledged"].as_u64().unwrap() * 11);
    let sent = number(&report, "sent") + number(&report, "unsent");
    assert_eq!(sent, 900.0, "300 a second for three seconds: {report}");
}

#[test]
fn mistakes_name_their_field() {
    let server = Server::start();
    let failed = |workload: &Value, code: i32| {
        let output = run(&server, workload);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stderr).unwrap()["message"].as_str().unwrap().to_owned()
    };
    let unknown = failed(&json!({"users": 5, "groups": [{"members": 5, "wieght": 2}]}), 2);
    assert!(unknown.contains("unknown field groups[0].wieght"), "{unknown}");
    let large = failed(&json!({"users": 2_000_000, "groups": [{"members": 5}]}), 2);
    assert!(large.contains("users is 2000000; a whole number from 2 to 1000000 is expected"), "{large}");
    let long = failed(&json!({"users": 5, "groups": [{"members": 5}], "body_bytes": 70_000}), 2);
    assert!(long.contains("body_bytes is 70000; the server's limit body_bytes_max is 65536"), "{long}");

    // A service's token makes and sends, and reads for nobody.
    let with_token = |devices_online: u32| {
        let workload = json!({"users": 5, "devices_online": devices_online, "messages": 50,
            "groups": [{"members": 5}]});
        let file = server.scratch().join("with-token.json");
        std::fs::write(&file, workload.to_string()).unwrap();
        Command::new(program("hw"))
            .args([
                "--json",
                "--server",
                &server.address.to_string(),
                "--pin",
                &server.pin().to_string(),
                "bench",
                "--workload",
            ])
            .arg(file)
            .env("HIGHWATER_TOKEN", server.service_token())
            .output()
            .unwrap()
    };
    let refused = with_token(1);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("devices_online must be 0"), "{refused:?}");
    let taken = with_token(0);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    assert_eq!(serde_json::from_slice::<Value>(&taken.stdout).unwrap()["acknowledged"], 50);
}

/// A run under way that tells how it goes.
struct Running {
    child: Child,
    lines: Receiver<String>,
    report: PathBuf,
}

impl Running {
    fn start(server: &Server, workload: &Value) -> Self {
        let report = server.scratch().join("report.json");
        let mut command = command(server, workload, &[]);
        let mut child =
            command.arg("--report").arg(&report).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have failed.
                let _ = tell.send(line);
            }
        });
        Self { child, lines, report }
    }

    /// Waits until it has told so often how it goes: about once a second.
    fn wait_told(&self, times: usize) {
        for _ in 0..times {
            self.wait_for("sends/s");
        }
    }

    /// Waits for a line that contains this.
    fn wait_for(&self, text: &str) {
        while !self.lines.recv_timeout(PATIENCE).unwrap().contains(text) {}
    }

    /// The report of a run in which every promise was kept.
    fn finish(self) -> Value {
        let report = self.end(0);
        assert_kept(&report);
        report
    }

    /// The report of a run that ends with this exit code.
    fn end(self, code: i32) -> Value {
        let output = self.child.wait_with_output().unwrap();
        let said: Vec<String> = self.lines.iter().collect();
        assert_eq!(output.status.code(), Some(code), "{said:?}");
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("acknowledged") && table.contains("errors: "), "{table}");
        serde_json::from_slice(&std::fs::read(self.report).unwrap()).unwrap()
    }
}

#[test]
fn a_server_that_is_killed_costs_time_and_nothing_else() {
    let mut server = Server::start();
    let workload = json!({"users": 10, "senders": 3, "in_flight": 32, "seconds": 6, "groups": [{"members": 10}]});
    let running = Running::start(&server, &workload);
    running.wait_told(1);
    server.kill();
    server.restart();
    let report = running.finish();
    // Ten readers and three senders.
    assert!(number(&report, "reconnects") >= 13.0 && number(&report, "catch_ups") >= 10.0, "{report}");
    assert!(number(&report, "retried") >= 1.0 && report["errors"]["unreachable"].as_u64() >= Some(13), "{report}");
    assert_eq!(report["deliveries"].as_u64().unwrap(), report["acknowledged"].as_u64().unwrap() * 9);
    server.kill();
    server.check_store(2);
}

/// What an open loop is for: the sends that a stalled server keeps waiting count from when they were due.
#[test]
fn a_server_that_stalls_is_not_flattered() {
    let server = Server::start();
    // Few are under way at a time: those that are not say nothing about the stall unless their waiting counts.
    let workload = json!({"users": 4, "senders": 2, "in_flight": 4, "rate_per_second": 200, "seconds": 6,
        "groups": [{"members": 4}]});
    let running = Running::start(&server, &workload);
    running.wait_told(1);
    send_signal(server.pid(), libc::SIGSTOP);
    running.wait_told(2);
    send_signal(server.pid(), libc::SIGCONT);
    let report = running.finish();
    // It stood still for about a third of the time, so that as many sends waited, a second of two on average.
    assert!(number(&report, "ack_p99_ms") > 1_000.0 && number(&report, "ack_max_ms") > 1_500.0, "{report}");
    assert!(number(&report, "delivery_p99_ms") > 1_000.0 && number(&report, "ack_p50_ms") < 1_000.0, "{report}");
    assert_eq!(number(&report, "acknowledged") + number(&report, "unsent"), 1_200.0, "{report}");
}

/// Some readers are away for a minute when everything is sent, and nobody waits for them.
#[test]
fn whoever_interrupts_the_end_gets_the_report_at_once() {
    let server = Server::start();
    let workload = json!({"users": 8, "senders": 1, "rate_per_second": 100, "seconds": 1.2, "groups": [{"members": 8}],
        "reconnect": {"every_seconds": 0.5, "share": 0.25, "away_ms": 60_000}});
    let running = Running::start(&server, &workload);
    // Those who stayed have everything: the sends are over.
    running.wait_for("complete: ");
    let interrupted = Instant::now();
    send_signal(running.child.id(), libc::SIGINT);
    let report = running.end(1);
    assert!(interrupted.elapsed() < Duration::from_secs(30), "{:?}", interrupted.elapsed());
    assert!(number(&report, "incomplete") >= 2.0, "{report}");
    assert_eq!([&report["missing"], &report["unanswered"]], [0, 0], "{report}");
}
