//! Makes up a data set, so that a replay can be tried without one.
//!
//! How large groups and messages are follows rounded quantiles of public chats; the words, names and times are invented.
//! What tends to break programs is in it on purpose: ids with blanks, slashes and cases that differ alone, texts that
//! are missing, empty, in other scripts, or begin and end with blanks, lines that are no messages, and a text above the
//! default limit.

use crate::args;
use crate::failure::Failure;
use crate::random::Random;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Members of a group: share of the groups, and the size up to there.
const GROUP_SIZES: [(f64, f64); 7] =
    [(0.0, 1.0), (0.15, 2.0), (0.5, 5.0), (0.75, 15.0), (0.9, 45.0), (0.99, 230.0), (1.0, 700.0)];
/// Bytes of a text: share of the texts, and the length up to there.
const TEXT_BYTES: [(f64, f64); 6] =
    [(0.0, 1.0), (0.5, 45.0), (0.9, 150.0), (0.99, 550.0), (0.999, 2000.0), (1.0, 4000.0)];
/// Members of the largest group: more than fit one membership change, and more than are fanned out on write.
const LARGEST_GROUP: usize = 1_200;
/// Fewer conversations than this do without the largest group.
const CONVERSATIONS_WITH_LARGEST: usize = 100;
/// Bytes of the text that no server takes by default.
const TOO_LARGE_BYTES: usize = 70_000;
/// When the first message is sent, in ms since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// Longest pause between two messages, in ms.
const PAUSE_MS_MAX: usize = 20_000;

const WORDS: [&str; 40] = [
    "well",
    "the",
    "river",
    "rises",
    "again",
    "tonight",
    "who",
    "has",
    "seen",
    "my",
    "other",
    "boat",
    "it",
    "is",
    "under",
    "bridge",
    "and",
    "rain",
    "comes",
    "from",
    "north",
    "so",
    "we",
    "wait",
    "for",
    "morning",
    "tea",
    "or",
    "höher",
    "été",
    "水位",
    "上がる",
    "прилив",
    "🌊",
    "`code`",
    "a/b",
    "#7",
    "(maybe)",
    "yes!",
    "no?",
];
const TOPICS: [&str; 12] = [
    "Harbour",
    "harbour",
    "Tide tables",
    "lock/gate",
    "Weir #2",
    "Ferry > North",
    "Pilots?",
    "moorings",
    "潮",
    "Fog",
    "Flood",
    "Crew",
];

#[derive(Serialize)]
struct Members<'a> {
    conv: &'a str,
    members: Vec<&'a str>,
}

#[derive(Serialize)]
struct Event<'a> {
    t: u64,
    conv: &'a str,
    from: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ev: Option<&'a str>,
}

/// Writes `members.jsonl` and `events.jsonl`.
pub(crate) fn run(sample: &args::Sample) -> Result<(), Failure> {
    let out = &sample.out;
    std::fs::create_dir_all(out).map_err(|error| Failure::io(format!("{}: {error}", out.display())))?;
    let mut random = Random::new(sample.seed);
    let groups = Groups::invent(&mut random, sample.seed, sample.conversations as usize);
    write_lines(&out.join("members.jsonl"), |file| groups.write(file))?;
    write_lines(&out.join("events.jsonl"), |file| write_events(file, &groups, &mut random, sample.messages as usize))
}

fn write_lines(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("{}: {error}", path.display()));
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    write(&mut file).and_then(|()| file.flush()).map_err(failed)
}

fn write_line(file: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

struct Groups {
    names: Vec<String>,
    users: Vec<String>,
    members: Vec<Vec<usize>>,
}

impl Groups {
    fn invent(random: &mut Random, seed: u64, count: usize) -> Self {
        let with_largest = count >= CONVERSATIONS_WITH_LARGEST;
        let population = (count * 3).clamp(20, 100_000).max(if with_largest { LARGEST_GROUP * 5 / 4 } else { 0 });
        // The seed is in the names, so that samples do not get into each other's conversations on one server.
        let names = (0..count).map(|number| format!("{} {seed}.{number}", TOPICS[number % TOPICS.len()])).collect();
        let users = (0..population).map(user_name).collect();
        let members = (0..count)
            .map(|number| {
                let size = match number {
                    1 if with_largest => LARGEST_GROUP,
                    _ => quantile(&GROUP_SIZES, random.fraction()).min(population),
                };
                random.choose((0..population).collect(), size)
            })
            .collect();
        Self { names, users, members }
    }

    fn write(&self, file: &mut impl Write) -> std::io::Result<()> {
        self.names.iter().zip(&self.members).try_for_each(|(conv, members)| {
            write_line(
                file,
                &Members { conv, members: members.iter().map(|user| self.users[*user].as_str()).collect() },
            )
        })
    }
}

fn user_name(number: usize) -> String {
    match number % 4 {
        0 => format!("mate {number}"),
        1 => format!("Mate {}", number - 1),
        2 => format!("岸{number}"),
        _ => format!("keeper/{number}"),
    }
}

fn write_events(file: &mut impl Write, groups: &Groups, random: &mut Random, count: usize) -> std::io::Result<()> {
    let mut time_ms = BEGIN_MS;
    for number in 0..count {
        time_ms += random.below(PAUSE_MS_MAX) as u64;
        // A few groups and a few of their members say most.
        let group = (random.fraction().powi(3) * groups.names.len() as f64) as usize;
        let members = &groups.members[group];
        let author = members[(random.fraction().powi(2) * members.len() as f64) as usize];
        let (conv, from) = (groups.names[group].as_str(), groups.users[author].as_str());
        let text = if number == count / 2 { Some("high water ".repeat(TOO_LARGE_BYTES / 10)) } else { text(random) };
        write_line(file, &Event { t: time_ms, conv, from, text, ev: None })?;
        if random.below(200) == 0 {
            write_line(file, &Event { t: time_ms, conv, from, text: None, ev: Some("join") })?;
        }
    }
    Ok(())
}

fn text(random: &mut Random) -> Option<String> {
    match random.below(500) {
        0 => return None,
        1 => return Some(String::new()),
        _ => {}
    }
    let length = quantile(&TEXT_BYTES, random.fraction());
    let mut text = String::with_capacity(length + 16);
    if random.below(100) == 0 {
        text.push(' ');
    }
    say(random, &mut text, length);
    if random.below(100) != 0 {
        text.pop();
    }
    Some(text)
}

/// At least so many bytes of invented text.
pub(crate) fn words(random: &mut Random, bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 16);
    say(random, &mut text, bytes);
    text.into_bytes()
}

/// Adds words until the text has at least so many bytes.
fn say(random: &mut Random, text: &mut String, bytes: usize) {
    while text.len() < bytes {
        text.push_str(WORDS[random.below(WORDS.len())]);
        text.push(if random.below(60) == 0 { '\n' } else { ' ' });
    }
}

/// The value at a share, straight between the points of `curve`.
fn quantile(curve: &[(f64, f64)], share: f64) -> usize {
    let above = curve.partition_point(|(point, _)| *point <= share).clamp(1, curve.len() - 1);
    let ((low, from), (high, to)) = (curve[above - 1], curve[above]);
    (from + (to - from) * (share - low) / (high - low)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::source::Source;

    fn make(seed: u64, conversations: u32, messages: u32) -> (tempfile::TempDir, Source) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let out = directory.path().to_owned();
        run(&args::Sample { seed, conversations, messages, out: out.clone() }).expect("is written");
        let source = Source::read(&out.join("events.jsonl"), &out.join("members.jsonl"), None).expect("is read");
        (directory, source)
    }

    #[test]
    fn the_same_seed_makes_the_same_set() {
        let (_first, one) = make(3, 20, 500);
        let (_second, same) = make(3, 20, 500);
        let (_third, other) = make(4, 20, 500);
        assert_eq!(one.device, same.device);
        assert_ne!(one.device, other.device);
        assert_eq!((one.messages.len(), one.conversations.len()), (500, 20));
    }

    #[test]
    fn the_awkward_cases_are_there() {
        let (_directory, source) = make(1, 300, 5_000);
        let bodies = || source.messages.iter().map(|message| message.body.as_ref());
        assert_eq!(bodies().filter(|body| body.len() > 64 << 10).count(), 1);
        assert!(bodies().any(<[u8]>::is_empty) && bodies().any(|body| body.ends_with(b" ")) && source.skipped > 0);
        assert!(source.conversations.iter().any(|conversation| conversation.members.len() > 1_000));
    }

    #[test]
    fn quantiles_are_met() {
        for (share, size) in [(0.0, 1), (0.5, 5), (0.9, 45), (0.999_999_9, 700)] {
            assert_eq!(quantile(&GROUP_SIZES, share), size);
        }
    }
}
