//! Data sets of real conversations replayed in process at full speed, and a graph of followers as channels.
//!
//! The sets are not part of the project. `HIGHWATER_DATA` names their directory, or they lie in `shared/data` beside
//! the checkout; where they are missing, the program says so and measures nothing.

mod replay;
mod source;

use crate::children::{Child, answer};
use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::plot::{Axis, Plot};
use crate::report::{Cell, Report, Table};
use highwater_engine::proto::limits::BODY_BYTES_CONFIGURABLE_MAX;
use highwater_engine::proto::record::Kind;
use replay::Replayed;
use source::Source;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file that makes a directory a data set of conversations, and that of a graph of followers.
const EVENTS: &str = "events.jsonl.zst";
const FOLLOWERS: &str = "followers.jsonl.zst";
/// Of a quick run: the largest file of events, in bytes, and the most authors that are followed.
const QUICK_EVENTS_BYTES_MAX: u64 = 2 << 20;
const QUICK_AUTHORS_MAX: usize = 5_000;

/// Runs the program.
///
/// # Errors
/// A set could not be replayed, or a member did not get what the source says.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("real", Machine::here(&context.out));
    let Some(data) = data_directory() else {
        report.note("there are no data sets: HIGHWATER_DATA names no directory, and none lies beside the checkout");
        return Ok(report);
    };
    let until = Instant::now() + context.budget;
    let mut replays = Vec::new();
    let mut left_out = Vec::new();
    for set in sets(&data)? {
        let name = set.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let bytes = std::fs::metadata(set.join(EVENTS)).map_or(0, |metadata| metadata.len());
        if Instant::now() > until || context.quick && bytes > QUICK_EVENTS_BYTES_MAX {
            left_out.push(name);
            continue;
        }
        let scratch = context.scratch()?;
        let authors_max = context.pick(usize::MAX, QUICK_AUTHORS_MAX).to_string();
        let (set, store) = (set.to_string_lossy(), scratch.path().join("store"));
        let seed = context.seed.to_string();
        let mut child = Child::start("real", &[&*set, &*store.to_string_lossy(), &seed, &authors_max])?;
        let replayed: Replayed = child.answer().map_err(|error| format!("{name}: {error}"))?;
        child.finish()?;
        replays.push((name, replayed));
    }
    tables(&replays, &mut report);
    if !left_out.is_empty() {
        report.note(format!("left out for want of time: {}", left_out.join(", ")));
    }
    Ok(report)
}

/// What the program starts as a process of its own: `highwater-bench child PROGRAM ARGUMENTS...`.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    let (set, store, seed, authors_max) = match arguments {
        [word, store] if word == "sizes" => return answer(&replay::look_at_sizes(Path::new(store))?),
        [set, store, seed, authors_max] => (Path::new(set), store, seed, authors_max),
        _ => return Err(format!("nothing is called {arguments:?}").into()),
    };
    let (source, kind) = if set.join(EVENTS).is_file() {
        (Source::conversations(set, BODY_BYTES_CONFIGURABLE_MAX)?, Kind::Group)
    } else {
        (Source::followers(set, authors_max.parse()?)?, Kind::Channel)
    };
    answer(&replay::replay(&source, kind, Path::new(store), seed.parse()?)?)
}

fn data_directory() -> Option<PathBuf> {
    let named = std::env::var_os("HIGHWATER_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    named.or(Some(beside)).filter(|directory| directory.is_dir())
}

/// The directories of the data sets, in the order of their names.
fn sets(data: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut sets = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.join(EVENTS).is_file() || path.join(FOLLOWERS).is_file() {
            sets.push(path);
        }
    }
    sets.sort();
    Ok(sets)
}

fn tables(replays: &[(String, Replayed)], report: &mut Report) {
    let mut speed = Table::new(
        "Replayed",
        &[
            "set",
            "users",
            "conversations",
            "messages",
            "deliveries",
            "messages/s",
            "deliveries/s",
            "CPU µs a message",
            "CPU ns a delivery",
            "ack p50 ms",
            "p99 ms",
        ],
    );
    let mut space = Table::new(
        "On the disk, after a persist",
        &[
            "set",
            "body bytes a message",
            "log bytes a message",
            "index bytes a message",
            "log a delivery",
            "index a delivery",
            "written to the device a body byte",
        ],
    );
    let mut memory = Table::new(
        "Memory, and how it was fanned out",
        &[
            "set",
            "source MiB",
            "peak MiB",
            "on write: conversations",
            "messages",
            "on read: conversations",
            "messages",
            "members verified",
            "messages",
        ],
    );
    let mut plot = Plot::new(
        "deliveries",
        "Deliveries a second by deliveries of a message",
        Axis::logarithmic("deliveries of a message"),
        Axis::logarithmic("a second"),
    );
    let mut points = Vec::new();
    for (name, replayed) in replays {
        let (messages, deliveries) = (replayed.messages as f64, replayed.deliveries as f64);
        let seconds = replayed.seconds + replayed.persist_seconds;
        points.push((deliveries / messages, messages / seconds, deliveries / seconds));
        speed.row([
            name.as_str().into(),
            replayed.users.into(),
            replayed.conversations.into(),
            messages.into(),
            deliveries.into(),
            (messages / seconds).into(),
            (deliveries / seconds).into(),
            (replayed.cpu_seconds * 1e6 / messages).into(),
            (replayed.cpu_seconds * 1e9 / deliveries).into(),
            (replayed.p50_us / 1e3).into(),
            (replayed.p99_us / 1e3).into(),
        ]);
        let body_bytes = replayed.body_bytes as f64;
        let written = replayed.device_bytes as f64 / body_bytes;
        space.row([
            name.as_str().into(),
            (body_bytes / messages).into(),
            (replayed.log_bytes as f64 / messages).into(),
            (replayed.index_bytes as f64 / messages).into(),
            (replayed.log_bytes as f64 / deliveries).into(),
            (replayed.index_bytes as f64 / deliveries).into(),
            if body_bytes > 0.0 { written.into() } else { Cell::Nothing },
        ]);
        memory.row([
            name.as_str().into(),
            ((replayed.memory_before >> 20) as f64).into(),
            ((replayed.memory_peak >> 20) as f64).into(),
            replayed.on_write.0.into(),
            replayed.on_write.1.into(),
            replayed.on_read.0.into(),
            replayed.on_read.1.into(),
            replayed.verified.0.into(),
            replayed.verified.1.into(),
        ]);
        for (left_out, what) in [(replayed.too_large, "bodies above the limit"), (replayed.left_out, "other events")] {
            if left_out > 0 {
                report.note(format!("{name}: {left_out} {what} were left out"));
            }
        }
    }
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    plot.line("messages", points.iter().map(|(of, messages, _)| (*of, *messages)));
    plot.line("deliveries", points.iter().map(|(of, _, deliveries)| (*of, *deliveries)));
    report.table(speed);
    report.table(space);
    report.table(memory);
    report.plot(plot);
    report.note(
        "a delivery is a message in a member's timeline, its author's included; every member of the source is one from \
         the beginning; 1,024 in flight; the time includes the persist at the end, the space what the messages added",
    );
    report.note(
        "index bytes are those after less those before the messages: compaction of what setting up wrote makes them less, \
         in a set with few messages even negative",
    );
    report.note(
        "verified: after closing and opening, whole timelines of members chosen by the seed are what the source says",
    );
}
