//! A timeline reads the same wherever its parts lie: in the store, in the frozen head, in the active head. And the
//! store may be ahead of what the state says of it, as it is while a persist ends.

use super::*;
use crate::commit::Pulls;
use crate::entry::Place;
use crate::log::{self, LogOptions};
use crate::reach::Reach;
use crate::state::{Head, State, Touched};
use crate::store::Store;
use crate::sync::RwLock;
use crate::timeline::{self, Entries, View};
use highwater_proto::id::{ConversationId, Incarnation};
use highwater_proto::record::Record;

const USERS: [&str; 3] = ["ann", "bob", "cy"];
const CONVERSATIONS: [&str; 2] = ["small", "large"];

/// The state after these records, with the timelines up to `persisted` left to the store and those up to `frozen` in
/// the frozen head.
fn state(incarnation: Incarnation, records: &[Record], persisted: Position, frozen: Position) -> State {
    let mut state = State::new(incarnation);
    for record in records {
        state.apply(record, &mut Touched::default()).unwrap();
        if record.position == persisted {
            state.head = Head::default();
            state.persisted = persisted;
        } else if record.position == frozen {
            state.frozen = Some(Arc::new(std::mem::take(&mut state.head)));
        }
    }
    state
}

/// Everything that can be read of the groups.
fn answers(view: &View<'_>) -> Vec<String> {
    let mut answers = Vec::new();
    for user in USERS {
        let end = view.state.read().applied;
        for through in (1..=end.0).step_by(4).map(Position) {
            let mut cursor = Cursor { after: Position::ZERO, through, snapshot: None };
            while cursor.after < through {
                let page = timeline::sync(view, user, Place::Next(cursor), limits(3, through.0 % 5), &Entries).unwrap();
                answers.push(format!("{user} {:?} {:?} {:?}", page.to, page.records, page.gaps));
                cursor = page.next;
            }
        }
        answers.push(format!("{:?}", timeline::conversations(view, user, None, 0).unwrap()));
        for conversation in CONVERSATIONS {
            for range in [HistoryRange::Newest, HistoryRange::Before(Seq(7)), HistoryRange::After(Seq(7))] {
                let history = timeline::history(view, user, conversation, range, 4);
                answers.push(format!("{user} {conversation} {history:?}"));
            }
        }
    }
    for conversation in (1..=CONVERSATIONS.len() as u32).map(ConversationId) {
        let positions = (0..=25).map(|seq| timeline::position_of(view, conversation, Seq(seq)).unwrap());
        answers.push(format!("{conversation} {:?}", positions.collect::<Vec<_>>()));
        answers.push(format!("{:?}", timeline::whole_outbox(view, conversation).unwrap()));
    }
    answers
}

#[test]
fn wherever_a_timeline_lies_it_reads_the_same() {
    let mut fixture = catch_up::mixed();
    fixture.remove("large", "cy");
    fixture.edit("bob", "large", 2, "edited");
    fixture.recall("ann", "large", 3);
    fixture.add("large", "cy");
    fixture.send("bob", "large", "the last");
    let Fixture { engine, directory, .. } = fixture;
    engine.close().unwrap();
    let store = Store::open(&directory.path().join("index")).unwrap();
    let options = Options::default();
    let log_options = LogOptions { segment_bytes_max: options.segment_bytes_max, tail_bytes_max: 0 };
    let log = log::open(options.log_disk(directory.path()), log_options, Position::ZERO).unwrap().reader;
    let incarnation = store.load().unwrap().unwrap().state.incarnation;
    let mut records = Vec::new();
    let mut keep = |record| {
        records.push(record);
        Ok(())
    };
    log.replay(Position::ZERO, crate::log::Bodies::Read, &mut keep).unwrap();
    let read = |persisted: u64, frozen: u64| {
        let state = RwLock::new(state(incarnation, &records, Position(persisted), Position(frozen)));
        answers(&View { state: &state, store: &store, log: &log, pulls: &Pulls::default(), reach: Reach::Disk })
    };
    let expected = read(0, 0);
    let end = records.len() as u64;
    for persisted in (0..=end).step_by(5) {
        for frozen in (persisted..=end).step_by(7) {
            assert_eq!(read(persisted, frozen), expected, "persisted up to {persisted}, frozen up to {frozen}");
        }
    }
}
