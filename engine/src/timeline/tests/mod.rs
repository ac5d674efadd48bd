//! Scenarios of reading, through the engine: a small store on a real disk, and what its users read from it.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod catch_up;
mod intervals;
mod lists;
mod live;
mod memory;
mod places;

use crate::Engine;
use crate::command::{Caller, Command, Create, Destination, OpenSession, Outcome, Receipt, Send, SendSession};
use crate::entry::{Body, Cursor, Delta, Entry, Gap, HistoryRange, Start, SyncLimits, What};
use crate::options::{Durability, Options};
use crate::state::{Changed, Conversation};
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::error::Code;
use highwater_proto::id::{Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fanout, Kind, Mode, Settings};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A group without members whose last record in read mode stands at this position.
pub(super) fn conversation(last_read_mode: Position) -> Conversation {
    Conversation {
        name: Arc::from("group"),
        kind: Kind::Group,
        settings: Settings::default(),
        creator: UserId::ZERO,
        head: Seq::ZERO,
        head_position: Position::ZERO,
        ordinal: Ordinal::ZERO,
        mode: Mode::Write,
        mode_since_ms: 0,
        last_read_mode,
        recalled: Vec::new(),
        members: BTreeMap::new(),
        active: Vec::new(),
        changed: Changed::default(),
    }
}

/// Records as they are compared: conversation, seq and what is seen of it.
type Seen = Vec<(String, u64, String)>;

/// A store, and the devices that send to it.
struct Fixture {
    engine: Engine,
    sessions: HashMap<String, (SendSession, u64)>,
    directory: tempfile::TempDir,
}

/// All pages of a catch-up.
struct CaughtUp {
    records: Vec<Entry>,
    gaps: Vec<Gap>,
    pages: usize,
    end: Delta,
}

/// Everything in as few pages as there can be.
const WHOLE: SyncLimits = SyncLimits { records_max: 0, bytes_max: 0, per_conversation_max: 0 };

impl Fixture {
    fn new() -> Self {
        let durability = Durability::Crash { sync_interval: Duration::from_millis(50) };
        Self::with(Options { durability, create_named_users: true, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(directory.path(), options).unwrap();
        Self { engine, sessions: HashMap::new(), directory }
    }

    fn service(&self, command: Command) {
        self.engine.execute(command).unwrap();
    }

    fn create(&self, kind: Kind, name: &str, members: &[&str]) {
        self.service(Command::Create(Create {
            caller: Caller::Service,
            kind,
            conversation: Some(name.into()),
            owner: None,
            members: names(members),
            open: kind == Kind::Channel,
            history: false,
        }));
    }

    fn group(&self, name: &str, members: &[&str]) {
        self.create(Kind::Group, name, members);
    }

    fn add(&self, conversation: &str, member: &str) {
        let (conversation, members) = (conversation.into(), names(&[member]));
        self.service(Command::Add { caller: Caller::Service, conversation, members });
    }

    fn remove(&self, conversation: &str, member: &str) {
        let (conversation, members) = (conversation.into(), names(&[member]));
        self.service(Command::Remove { caller: Caller::Service, conversation, members });
    }

    fn pin(&self, conversation: &str, fanout: Fanout) {
        self.settings(conversation, None, Some(fanout));
    }

    fn settings(&self, conversation: &str, history: Option<bool>, fanout: Option<Fanout>) {
        let conversation = conversation.into();
        self.service(Command::Settings { caller: Caller::Service, conversation, open: None, history, fanout });
    }

    /// The session of a user's only device, and the device's next number.
    fn session(&mut self, user: &str) -> (SendSession, u64) {
        if !self.sessions.contains_key(user) {
            let open = OpenSession {
                user: user.into(),
                device: "phone".into(),
                by_service: false,
                on_replaced: Box::new(|| {}),
            };
            let Outcome::Session(session) = self.engine.execute(Command::OpenSession(open)).unwrap() else {
                panic!("a session was asked for")
            };
            self.sessions.insert(user.to_owned(), (session, 0));
        }
        let (session, last) = self.sessions.get_mut(user).unwrap();
        *last += 1;
        (*session, *last)
    }

    fn numbered(&self, command: Command) -> Receipt {
        match self.engine.execute(command).unwrap() {
            Outcome::Receipt(receipt) => receipt,
            other => panic!("{other:?} is no receipt"),
        }
    }

    fn send(&mut self, from: &str, conversation: &str, text: &str) -> Receipt {
        self.mention(from, conversation, text, &[])
    }

    fn mention(&mut self, from: &str, conversation: &str, text: &str, mentions: &[&str]) -> Receipt {
        let (session, client_seq) = self.session(from);
        self.numbered(Command::Send(Send {
            session,
            client_seq,
            destination: Destination::Conversation(conversation.into()),
            body: text.to_owned().into(),
            quote: None,
            mentions: names(mentions),
            sent_at_ms: None,
        }))
    }

    fn edit(&mut self, from: &str, conversation: &str, target: u64, text: &str) -> Receipt {
        let (session, client_seq) = self.session(from);
        let (conversation, target, body) = (conversation.into(), Seq(target), text.to_owned().into());
        self.numbered(Command::Edit { session, client_seq, conversation, target, body })
    }

    fn recall(&mut self, from: &str, conversation: &str, target: u64) -> Receipt {
        let (session, client_seq) = self.session(from);
        let (conversation, target) = (conversation.into(), Seq(target));
        self.numbered(Command::Recall { session, client_seq, conversation, target })
    }

    /// All pages up to the end, each checked to begin where the one before ended.
    fn catch_up(&self, user: &str, start: Start, limits: SyncLimits) -> CaughtUp {
        let first = self.engine.sync(user, start, limits).unwrap();
        self.follow(user, first, limits)
    }

    /// The pages behind this one, up to the end.
    fn follow(&self, user: &str, first: Delta, limits: SyncLimits) -> CaughtUp {
        let mut all = CaughtUp { records: Vec::new(), gaps: Vec::new(), pages: 0, end: first.clone() };
        let mut page = first;
        loop {
            assert!(page.from <= page.to);
            assert_eq!(page.checkpoint.unwrap().position, page.to);
            assert!(page.records.iter().all(|record| page.from < record.position && record.position <= page.to));
            assert!(limits.records_max == 0 || page.records.len() <= limits.records_max);
            all.records.extend(page.records.iter().cloned());
            all.gaps.extend(page.gaps.iter().cloned());
            all.pages += 1;
            if page.caught_up {
                all.end = page;
                return all;
            }
            let next = self.engine.sync_next(user, page.next, limits).unwrap();
            assert_eq!(next.from, page.to, "a page begins where the one before ended");
            assert!(next.to > page.to, "a page gets on");
            page = next;
        }
    }

    fn whole(&self, user: &str) -> Seen {
        seen(&self.catch_up(user, Start::Beginning, WHOLE).records)
    }

    fn history(&self, user: &str, conversation: &str, range: HistoryRange, limit: usize) -> Vec<u64> {
        let entries = self.engine.history(user, conversation, range, limit).unwrap();
        entries.iter().map(|entry| entry.seq.0).collect()
    }

    fn checkpoint(&self) -> Checkpoint {
        let position = self.engine.visible();
        let cursor = Cursor { after: position, through: position, snapshot: None };
        let user = self.sessions.keys().next().unwrap();
        self.engine.sync_next(user, cursor, WHOLE).unwrap().checkpoint.unwrap()
    }
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn limits(records_max: usize, per_conversation_max: u64) -> SyncLimits {
    SyncLimits { records_max, bytes_max: 0, per_conversation_max }
}

fn seen(records: &[Entry]) -> Seen {
    records.iter().map(|entry| (entry.conversation.to_string(), entry.seq.0, say(&entry.what))).collect()
}

/// A few words for what a record says: the body of a message, marked if edited.
fn say(what: &What) -> String {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    let list = |members: &[Arc<str>]| members.join(",");
    match what {
        What::Message { body: Body::Original(body), .. } => text(body),
        What::Message { body: Body::Edited(body, _), .. } => format!("{}*", text(body)),
        What::Message { body: Body::Recalled, .. } => "recalled".to_owned(),
        What::Edit { target, body: Some(body) } => format!("edit {target} {}", text(body)),
        What::Edit { target, body: None } => format!("edit {target}"),
        What::Recall { target } => format!("recall {target}"),
        What::Create { .. } => "create".to_owned(),
        What::Add { members } => format!("add {}", list(members)),
        What::Remove { members } => format!("remove {}", list(members)),
        What::Settings(_) => "settings".to_owned(),
        What::Read { through } => format!("read {through}"),
        other => format!("{other:?}"),
    }
}

/// What is expected to be seen of one conversation.
fn of(conversation: &str, records: &[(u64, &str)]) -> Seen {
    records.iter().map(|(seq, says)| (conversation.to_owned(), *seq, (*says).to_owned())).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, highwater_proto::error::Error>) -> Code {
    result.unwrap_err().code
}
