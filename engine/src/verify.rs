//! Offline verification: is the log sound, is the index sound, and does the index say what the log says?
//!
//! The log is read from its first record to its last, every checksum and every record, and replayed into an empty
//! state. When the replay has come to the position that the index is consistent with, the two are compared: state row
//! by row, timelines list by list. Nothing is repaired, and nothing but the lock file is written.
//!
//! Memory: the whole state and all timelines, twice the former and once the latter; so about what the log's lists of
//! positions take, 8 bytes per entry of an inbox or outbox.

#[cfg(test)]
mod tests;

use crate::lock::StoreLock;
use crate::log;
use crate::log::disk::RealDisk;
use crate::state::{OutboxEntry, State, Touched};
use crate::store::{Loaded, Store};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, Epoch, Incarnation, Position, UserId};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

/// Findings of one kind that are listed one by one; more are only counted.
const LISTED_MAX: usize = 50;

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Log segments that count.
    pub segments: usize,
    /// Sound frames in the log.
    pub frames: u64,
    /// Sound records in the log.
    pub records: u64,
    /// The log's last position.
    pub last: Position,
    /// The log's newest epoch.
    pub epoch: Epoch,
    /// Bytes of an unfinished write stand behind the log's end, as after a crash. No damage.
    pub is_torn: bool,
    /// The position that the index is consistent with; what follows it is replayed at each opening.
    pub applied: Position,
    /// Whether log and index were compared in full: not if one of them is damaged before `applied`.
    pub is_compared: bool,
    /// What is damaged; none in a sound store.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it was found in.
    pub part: Part,
    /// What is wrong, and where: file, offset and position, or family and key, or user or conversation.
    pub what: String,
}

/// The parts that are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The log by itself.
    Log,
    /// The index by itself.
    Index,
    /// What both say about the same.
    Agreement,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Log => "log",
            Part::Index => "index",
            Part::Agreement => "agreement",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.what)
    }
}

/// Verifies the store in a directory, which must not be in use.
///
/// # Errors
/// Damage is in the report. `not_found`: there is no store. `unusable`: it is in use, or of a format that this build
/// does not know. `io`: reading failed.
pub fn verify(path: impl AsRef<Path>) -> Result<Report, Error> {
    let path = path.as_ref();
    check_exists(path)?;
    let _lock = StoreLock::take(path)?;
    let mut report = Report::default();
    let index = open_index(path, &mut report)?;
    let mut replay = Replay::new(index.as_ref());
    if path.join("log").is_dir() {
        check_log(path, &mut replay, &mut report)?;
    } else if !replay.compare_at.is_zero() {
        report.findings.push(Finding { part: Part::Log, what: "the directory log is missing".to_owned() });
    }
    replay.compare_if_due()?;
    report.is_compared = replay.is_compared;
    report.findings.extend(replay.findings);
    Ok(report)
}

/// Reads the whole log, and replays it as far as it is sound.
fn check_log(path: &Path, replay: &mut Replay<'_>, report: &mut Report) -> Result<(), Error> {
    let checked = log::check(&RealDisk::new(path.join("log")), replay.compare_at, &mut |record| {
        replay.compare_if_due()?;
        replay.state.apply(&record, &mut Touched::default())
    })?;
    report.segments = checked.segments.len();
    (report.frames, report.records) = (checked.frames, checked.records);
    (report.last, report.epoch, report.is_torn) = (checked.last, checked.epoch, checked.is_torn);
    let damage = checked.damage.into_iter().map(|damage| Finding { part: Part::Log, what: damage.message });
    report.findings.extend(damage);
    Ok(())
}

/// Refuses a directory without a store, before anything is created in it.
pub(crate) fn check_exists(path: &Path) -> Result<(), Error> {
    if path.join("index").is_dir() || path.join("log").is_dir() {
        return Ok(());
    }
    Err(Error::new(Code::NotFound, format!("there is no store in {}", path.display())))
}

/// The index and what it holds; `None`, with a finding, if it cannot be read as a whole.
fn open_index(path: &Path, report: &mut Report) -> Result<Option<(Store, Loaded)>, Error> {
    let opened = Store::open_read_only(&path.join("index")).and_then(|store| {
        let loaded = store.load()?;
        loaded.map(|loaded| (store, loaded)).ok_or_else(|| Error::new(Code::NotFound, "the index has no history"))
    });
    match opened {
        Ok((store, loaded)) => {
            report.applied = loaded.state.applied;
            Ok(Some((store, loaded)))
        }
        Err(error) if matches!(error.code, Code::Corrupt | Code::NotFound) => {
            report.findings.push(Finding { part: Part::Index, what: error.message });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The log's state as it is replayed, and its comparison with the index when both are at the same position.
struct Replay<'a> {
    state: State,
    index: Option<&'a (Store, Loaded)>,
    /// Zero without an index.
    compare_at: Position,
    is_compared: bool,
    findings: Vec<Finding>,
}

impl<'a> Replay<'a> {
    fn new(index: Option<&'a (Store, Loaded)>) -> Self {
        let incarnation = index.map_or(Incarnation::default(), |(_, loaded)| loaded.state.incarnation);
        let compare_at = index.map_or(Position::ZERO, |(_, loaded)| loaded.state.applied);
        Self { state: State::new(incarnation), index, compare_at, is_compared: false, findings: Vec::new() }
    }

    fn compare_if_due(&mut self) -> Result<(), Error> {
        let Some((store, loaded)) = self.index.filter(|_| !self.is_compared && self.state.applied == self.compare_at)
        else {
            return Ok(());
        };
        let mut lists = Lists { replayed: &self.state, findings: Vec::new() };
        // Of an index that is damaged there is nothing more to compare behind the damage.
        for result in [lists.compare_inboxes(store), lists.compare_outboxes(store)] {
            match result {
                Ok(()) => {}
                Err(error) if error.code == Code::Corrupt => {
                    lists.findings.push(Finding { part: Part::Index, what: error.message });
                }
                Err(error) => return Err(error),
            }
        }
        let findings = lists.findings;
        self.findings.extend(findings);
        self.findings.extend(compare_rows(&self.state, &loaded.state));
        self.is_compared = true;
        Ok(())
    }
}

/// State that one of the two has and the other has not, or has otherwise.
fn compare_rows(replayed: &State, stored: &State) -> Vec<Finding> {
    let (in_log, in_index) = (rows(replayed), rows(stored));
    let position = replayed.applied;
    let only_log = in_log.difference(&in_index).map(|row| format!("only the log says, at position {position}: {row}"));
    let only_index =
        in_index.difference(&in_log).map(|row| format!("only the index says, at position {position}: {row}"));
    let whats = only_log.chain(only_index);
    let mut findings: Vec<Finding> = Vec::new();
    let mut more = 0;
    for what in whats {
        if findings.len() < LISTED_MAX {
            findings.push(Finding { part: Part::Agreement, what });
        } else {
            more += 1;
        }
    }
    if more > 0 {
        findings.push(Finding { part: Part::Agreement, what: format!("{more} more rows differ") });
    }
    findings
}

/// The rows of the canonical dump, each with the heading that it stands under.
fn rows(state: &State) -> BTreeSet<String> {
    let mut text = String::new();
    state.dump(&mut text);
    let mut heading = "";
    let with_heading = |line| match line {
        line if str::starts_with(line, ' ') => format!("{heading}: {}", line.trim_start()),
        line => {
            heading = line;
            line.to_owned()
        }
    };
    text.lines().map(with_heading).collect()
}

/// The timelines that the log says, against those of the index.
struct Lists<'a> {
    replayed: &'a State,
    findings: Vec<Finding>,
}

impl Lists<'_> {
    fn compare_inboxes(&mut self, store: &Store) -> Result<(), Error> {
        let mut inboxes: HashMap<UserId, Vec<Position>> = HashMap::new();
        self.replayed.head.each_inbox(|user, positions| drop(inboxes.insert(user, positions.to_vec())));
        let expected: Vec<_> = (1..).map(UserId).take(self.replayed.users.len()).collect();
        let of = |user: &UserId| inboxes.get(user).map_or(&[][..], Vec::as_slice);
        let mut comparison = Comparison::default();
        store.scan_inboxes(|user, chunk| comparison.chunk(user, of(&user), &chunk))?;
        let name = |user: UserId| format!("the inbox of user {user} ({:?})", self.replayed.user_name(user));
        self.findings.extend(comparison.findings(expected.iter().map(|user| (*user, of(user))), name));
        Ok(())
    }

    fn compare_outboxes(&mut self, store: &Store) -> Result<(), Error> {
        let mut outboxes: HashMap<ConversationId, Vec<OutboxEntry>> = HashMap::new();
        self.replayed.head.each_outbox(|id, _, entries| drop(outboxes.insert(id, entries.to_vec())));
        let names = &self.replayed.names.conversation_names;
        let expected: Vec<_> = (1..).map(ConversationId).take(names.len()).collect();
        let of = |id: &ConversationId| outboxes.get(id).map_or(&[][..], Vec::as_slice);
        let mut comparison = Comparison::default();
        // Seqs are contiguous from 1: a chunk that begins elsewhere than the one before it ended is in the wrong place.
        store.scan_outboxes(|id, first, chunk| comparison.chunk_at(id, (first.0 - 1) as usize, of(&id), &chunk))?;
        let name = |id: ConversationId| {
            let name = names.get((id.0 as usize).wrapping_sub(1)).map_or("", |name| name);
            format!("the outbox of conversation {id} ({name:?})")
        };
        self.findings.extend(comparison.findings(expected.iter().map(|id| (*id, of(id))), name));
        Ok(())
    }
}

/// Lists of one kind, as their chunks come by.
struct Comparison<Id> {
    /// How many entries of each list were met.
    met: HashMap<Id, usize>,
    /// Lists that differ, and at which entry, counted from 1.
    differing: std::collections::BTreeMap<Id, usize>,
}

impl<Id> Default for Comparison<Id> {
    fn default() -> Self {
        Self { met: Default::default(), differing: Default::default() }
    }
}

impl<Id: Copy + Ord + std::hash::Hash> Comparison<Id> {
    /// The next chunk of a list.
    fn chunk<T: PartialEq>(&mut self, id: Id, list: &[T], chunk: &[T]) {
        let at = self.met.get(&id).copied().unwrap_or(0);
        self.chunk_at(id, at, list, chunk);
    }

    /// The next chunk of a list, which claims to begin at an index.
    fn chunk_at<T: PartialEq>(&mut self, id: Id, at: usize, list: &[T], chunk: &[T]) {
        let met = self.met.entry(id).or_insert(0);
        let expected = list.get(*met..).unwrap_or(&[]);
        let same = if at == *met { expected.iter().zip(chunk).take_while(|(a, b)| a == b).count() } else { 0 };
        if same < chunk.len() || at != *met {
            self.differing.entry(id).or_insert(*met + same + 1);
        }
        *met += chunk.len();
    }

    /// What differs, those included that were not met in full.
    fn findings<'l, T: 'l>(
        mut self,
        lists: impl Iterator<Item = (Id, &'l [T])>,
        name: impl Fn(Id) -> String,
    ) -> Vec<Finding> {
        for (id, list) in lists {
            let met = self.met.get(&id).copied().unwrap_or(0);
            if met < list.len() {
                self.differing.entry(id).or_insert(met + 1);
            }
        }
        let more = self.differing.len().saturating_sub(LISTED_MAX);
        let listed = self.differing.iter().take(LISTED_MAX);
        let mut whats: Vec<String> =
            listed.map(|(id, entry)| format!("{} differs from the log at entry {entry}", name(*id))).collect();
        if more > 0 {
            whats.push(format!("{more} more timelines differ"));
        }
        whats.into_iter().map(|what| Finding { part: Part::Agreement, what }).collect()
    }
}
