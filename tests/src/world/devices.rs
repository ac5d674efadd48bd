//! Reading devices: each keeps a checkpoint and a replica of what it was told, as a client would.

use super::check::check_in_memory;
use super::{Check, World, failed};
use crate::model::{self, Fact, Name, Record, State};
use crate::plan::{From, Limits};
use bytes::Bytes;
use highwater_engine::entry::{
    Body, ConversationView, Cursor, Delta, Entry, HistoryRange, Place, ResetReason, Start, SyncLimits, What,
};
use highwater_engine::proto::checkpoint::Checkpoint;
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::id::{Incarnation, Position, Seq};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What a device holds.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    checkpoint: Option<Checkpoint>,
    at: u64,
    cursor: Option<Cursor>,
    /// Where the catch-up of the cursor ends.
    through: u64,
    /// Its checkpoint names records that were lost.
    is_ahead: bool,
    /// Messages whose lost edit or recall it may have been shown.
    shown_lost: BTreeSet<(Name, u64)>,
    /// Messages by conversation and seq; `None` is a tombstone.
    held: BTreeMap<(Name, u64), Option<Vec<u8>>>,
}

/// More pages than any catch-up of a case takes.
const PAGES_MAX: usize = 10_000;

impl Reader {
    /// The session that its cursor was valid for is over.
    pub(super) fn disconnect(&mut self) {
        self.cursor = None;
        self.through = 0;
    }

    /// A crash lost these records, which came after this position. A device whose checkpoint is beyond it must start
    /// anew, and drops what it holds. One that was catching up goes on; it may have been shown a lost edit or recall of a
    /// message that it holds, since those apply on read (`guarantees.md`, P9).
    pub(super) fn lose_after(&mut self, position: u64, gone: &[Record]) {
        if self.at > position {
            self.is_ahead = true;
            self.held.clear();
            self.shown_lost.clear();
            return;
        }
        self.shown_lost.extend(gone.iter().filter_map(|record| match record.fact {
            Fact::Edit { target, .. } | Fact::Recall { target } => Some((record.conversation.clone(), target)),
            _ => None,
        }));
    }

    fn take(&mut self, entry: &Entry) {
        check_common(entry);
        let key = |seq: Seq| (entry.conversation.clone(), seq.0);
        match &entry.what {
            What::Message { body, .. } => {
                self.held.insert(key(entry.seq), text(body));
            }
            What::Edit { target, body } => {
                if let Some(Some(held)) = self.held.get_mut(&key(*target))
                    && let Some(body) = body
                {
                    *held = body.to_vec();
                }
            }
            What::Recall { target } => {
                if let Some(held) = self.held.get_mut(&key(*target)) {
                    *held = None;
                }
            }
            _ => {}
        }
    }
}

/// Whoever is shown an entry whose encoded form is shared is shown the same as all the others.
fn check_common(entry: &Entry) {
    if let Some(encoded) = entry.common.encoded() {
        let form = format!("{entry:?}");
        let shared = encoded.get_or_init(|| form.clone().into());
        assert!(*shared == form, "{form} is not what others were shown: {shared:?}");
    }
}

/// The page with its entries encoded.
fn encoded(page: Delta, encode: impl Fn(Entry) -> Bytes) -> Delta<Bytes> {
    let Delta { from, to, checkpoint, caught_up, records, gaps, reset, conversations, next } = page;
    let records = records.into_iter().map(encode).collect();
    Delta { from, to, checkpoint, caught_up, records, gaps, reset, conversations, next }
}

fn text(body: &Body) -> Option<Vec<u8>> {
    match body {
        Body::Original(body) | Body::Edited(body, _) => Some(body.to_vec()),
        Body::Recalled => None,
    }
}

impl World {
    /// Syncs a device, as far as the limits let it, and compares every page.
    pub fn sync(&mut self, user: &Name, number: u8, from: From, limits: Limits) -> Check {
        let mut reader = self.readers.remove(&(user.clone(), number)).unwrap_or_default();
        let synced = self.sync_reader(user, &mut reader, from, limits);
        self.readers.insert((user.clone(), number), reader);
        synced
    }

    pub(super) fn sync_reader(&mut self, user: &Name, reader: &mut Reader, from: From, limits: Limits) -> Check {
        self.coverage.count("syncs");
        let state = self.model.state();
        let asked = SyncLimits {
            records_max: limits.records.into(),
            bytes_max: limits.bytes.into(),
            per_conversation_max: limits.cap.into(),
        };
        let (first, begin, reset) = self.first_page(user, reader, from, asked)?;
        if !state.is_user(user) {
            prop_assert_eq!(first.map_err(|error| error.code).err(), Some(Code::NotFound));
            return Ok(());
        }
        let mut page = first.map_err(|error| failed("sync", &error))?;
        if let Some(reason) = reset {
            page = self.take_snapshot(&state, user, reader, page, reason, asked)?;
            // Behind the last page of a snapshot the same cursor answers with what is new.
            page = self.next(user, &page, asked)?;
            prop_assert!(page.records.is_empty(), "a snapshot covers what was visible");
        }
        let begin = if reset.is_some() { self.model.visible() } else { begin };
        // A catch-up that was broken off ends where it was to end then; what is new comes after that.
        let visible = self.model.visible();
        let is_continued = from == From::Cursor && reset.is_none() && begin < reader.through;
        let mut through = if is_continued { reader.through } else { visible };
        let mut from = begin;
        for pages in 1.. {
            prop_assert!(pages < PAGES_MAX, "the catch-up does not end");
            let left_out = self.left_out(&state, user, from + 1..=through, limits.cap.into());
            self.check_page(&state, user, &page, from, &left_out, asked)?;
            prop_assert!(page.to.0 <= through, "a page ends with its catch-up");
            self.take_page(user, reader, &page)?;
            reader.through = through;
            from = page.to.0;
            if from == through {
                through = visible;
            }
            if page.caught_up || pages == usize::from(limits.pages) {
                break;
            }
            self.coverage.count("further pages");
            page = self.next(user, &page, asked)?;
        }
        Ok(())
    }

    /// The first page, where it begins, and which reset is expected.
    fn first_page(
        &mut self,
        user: &str,
        reader: &mut Reader,
        from: From,
        limits: SyncLimits,
    ) -> Check<(Result<Delta, Error>, u64, Option<ResetReason>)> {
        let incarnation = self.engine().incarnation();
        let epoch = self.epoch;
        let (start, begin, reset) = match (from, reader.checkpoint, reader.cursor) {
            (From::Cursor, _, Some(cursor)) => {
                self.coverage.count("live reads");
                return Ok((self.read(user, Place::Next(cursor), limits)?, reader.at, None));
            }
            (From::Checkpoint | From::Cursor, Some(checkpoint), _) => {
                let reset = reader.is_ahead.then_some(ResetReason::Epoch);
                (Start::Checkpoint(checkpoint), reader.at, reset)
            }
            (From::Checkpoint | From::Cursor, None, _) | (From::Beginning, ..) => (Start::Beginning, 0, None),
            (From::Snapshot, ..) => (Start::Snapshot, 0, Some(ResetReason::Requested)),
            (From::OtherHistory, ..) => {
                reader.held.clear();
                let checkpoint = Checkpoint { incarnation: Incarnation([7; 16]), epoch, position: Position(1) };
                (Start::Checkpoint(checkpoint), 0, Some(ResetReason::Incarnation))
            }
            (From::Lost, ..) => {
                let position = Position(self.model.visible() + 1);
                (Start::Checkpoint(Checkpoint { incarnation, epoch, position }), 0, Some(ResetReason::Epoch))
            }
        };
        Ok((self.read(user, Place::Start(start), limits)?, begin, reset))
    }

    fn next(&mut self, user: &str, page: &Delta, limits: SyncLimits) -> Check<Delta> {
        self.read(user, Place::Next(page.next), limits)?.map_err(|error| failed("sync_next", &error))
    }

    /// A page. If memory alone can answer, it gives the same answer; and encoded pages say the same.
    fn read(&mut self, user: &str, place: Place, limits: SyncLimits) -> Check<Result<Delta, Error>> {
        let engine = self.engine();
        let (in_memory, page) = match place {
            Place::Start(start) => (engine.try_sync(user, start, limits), engine.sync(user, start, limits)),
            Place::Next(cursor) => (engine.try_sync_next(user, cursor, limits), engine.sync_next(user, cursor, limits)),
        };
        let encode = |entry: Entry| Bytes::from(format!("{entry:?}"));
        let page_encoded = engine.sync_encoded(user, place, limits, &encode);
        let in_memory_encoded = engine.try_sync_encoded(user, place, limits, &encode);
        // The second time all of it is there: what the first one encoded is at hand.
        prop_assert_eq!(&engine.sync_encoded(user, place, limits, &encode), &page_encoded, "a page encoded again");
        check_in_memory(in_memory_encoded, &page_encoded)?;
        let said = page.clone().map(|page| encoded(page, encode));
        prop_assert_eq!(page_encoded, said, "a page encoded and its entries");
        let answered = check_in_memory(in_memory, &page)?;
        self.coverage.count(if answered { "reads in memory" } else { "reads that need the disk" });
        Ok(page)
    }

    /// All pages of a snapshot; gives the last of them back.
    fn take_snapshot(
        &mut self,
        state: &State,
        user: &Name,
        reader: &mut Reader,
        first: Delta,
        reason: ResetReason,
        limits: SyncLimits,
    ) -> Check<Delta> {
        self.coverage.count("resets");
        let mut told: Vec<ConversationView> = Vec::new();
        let mut page = first;
        loop {
            prop_assert_eq!(page.reset, Some(reason));
            prop_assert_eq!(page.to.0, self.model.visible(), "a snapshot is of the visible position");
            prop_assert!(page.records.is_empty() && page.gaps.is_empty());
            prop_assert!(limits.records_max == 0 || page.conversations.len() <= limits.records_max);
            told.append(&mut page.conversations);
            if page.checkpoint.is_some() {
                break;
            }
            prop_assert!(!page.caught_up, "the checkpoint comes with the last page");
            page = self.next(user, &page, limits)?;
        }
        prop_assert!(page.caught_up);
        told.sort_by(|a, b| a.conversation.cmp(&b.conversation));
        let names = state.conversations_of(user);
        let expected: Vec<_> = names.iter().map(|name| state.view(&self.model, user, name)).collect();
        prop_assert_eq!(&told, &expected, "the snapshot of {}", user);
        for view in told {
            for (first, last) in view.ranges {
                self.fill(user, reader, &view.conversation, first, last)?;
            }
        }
        reader.checkpoint = page.checkpoint;
        reader.at = page.to.0;
        reader.is_ahead = false;
        Ok(page)
    }

    /// Positions of the messages that a cap leaves out of these: of each conversation all but the newest.
    fn left_out(&self, state: &State, user: &str, range: RangeInclusive<u64>, cap: u64) -> BTreeSet<u64> {
        let mut messages: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for position in state.synced(&self.model, user).into_iter().filter(|position| range.contains(position)) {
            let record = self.model.record(position);
            if record.is_message() {
                messages.entry(&record.conversation).or_default().push(position);
            }
        }
        if cap == 0 {
            return BTreeSet::new();
        }
        let older = |positions: Vec<u64>| {
            let count = positions.len().saturating_sub(cap as usize);
            positions.into_iter().take(count)
        };
        messages.into_values().flat_map(older).collect()
    }

    fn check_page(
        &mut self,
        state: &State,
        user: &str,
        page: &Delta,
        from: u64,
        left_out: &BTreeSet<u64>,
        limits: SyncLimits,
    ) -> Check {
        let visible = self.model.visible();
        prop_assert_eq!(page.reset, None);
        prop_assert_eq!(page.from.0, from, "a delta begins where the one before it ended");
        prop_assert!(page.to.0 <= visible && page.from <= page.to);
        prop_assert!(page.to > page.from || page.caught_up, "a page gets on");
        prop_assert_eq!(page.caught_up, page.to.0 == visible);
        let checkpoint = Checkpoint { incarnation: self.engine().incarnation(), epoch: self.epoch, position: page.to };
        prop_assert_eq!(page.checkpoint, Some(checkpoint));
        let covered: Vec<u64> = state
            .synced(&self.model, user)
            .into_iter()
            .filter(|position| (page.from.0 + 1..=page.to.0).contains(position))
            .collect();
        let delivered = covered.iter().filter(|position| !left_out.contains(position));
        let expected: Vec<Entry> =
            delivered.map(|position| model::entry(&self.model, state, *position, Some(user))).collect();
        let found: BTreeSet<u64> = page.records.iter().map(|entry| entry.position.0).collect();
        let wanted: BTreeSet<u64> = expected.iter().map(|entry| entry.position.0).collect();
        if let Some(position) = found.symmetric_difference(&wanted).next() {
            let verb = if wanted.contains(position) { "lacks" } else { "holds" };
            let record = self.model.record(*position);
            let message = format!("({}, {}] for {user} {verb} {position}: {record:?}", page.from, page.to);
            return Err(TestCaseError::fail(message));
        }
        prop_assert_eq!(&page.records, &expected, "records for {} in ({}, {}]", user, page.from, page.to);
        self.check_limits(page, limits)?;
        let gone: Vec<u64> = covered.into_iter().filter(|position| left_out.contains(position)).collect();
        self.check_gaps(state, user, page, &gone)
    }

    fn check_limits(&self, page: &Delta, limits: SyncLimits) -> Check {
        prop_assert!(limits.records_max == 0 || page.records.len() <= limits.records_max);
        let bytes = |entry: &Entry| match &entry.what {
            What::Message { body: Body::Original(body) | Body::Edited(body, _), .. } => body.len(),
            What::Edit { body: Some(body), .. } => body.len(),
            _ => 0,
        };
        let bytes: usize = page.records.iter().map(bytes).sum();
        prop_assert!(limits.bytes_max == 0 || bytes <= limits.bytes_max || page.records.len() == 1);
        Ok(())
    }

    /// Every message left out lies in exactly one gap; a gap holds no delivered message and ends where the page and
    /// the reader's interval do.
    fn check_gaps(&mut self, state: &State, user: &str, page: &Delta, left_out: &[u64]) -> Check {
        let inside = |gap: &highwater_engine::entry::Gap, conversation: &str, seq: u64| {
            gap.conversation.as_ref() == conversation && (gap.from_seq.0..=gap.to_seq.0).contains(&seq)
        };
        for position in left_out {
            let record = self.model.record(*position);
            let gaps = page.gaps.iter().filter(|gap| inside(gap, &record.conversation, record.seq)).count();
            prop_assert_eq!(gaps, 1, "message {} of {:?} is in a gap", record.seq, record.conversation);
        }
        for entry in page.records.iter().filter(|entry| matches!(entry.what, What::Message { .. })) {
            let is_in_gap = page.gaps.iter().any(|gap| inside(gap, &entry.conversation, entry.seq.0));
            prop_assert!(!is_in_gap, "message {} of {:?} is delivered", entry.seq, entry.conversation);
        }
        for gap in &page.gaps {
            self.coverage.count("gaps");
            prop_assert!(gap.from_seq <= gap.to_seq);
            let conversation = &state.conversations[&gap.conversation];
            let members = &conversation.members[user];
            let interval =
                |i: &model::Interval| i.from_seq <= gap.from_seq.0 && i.to_seq.is_none_or(|to| gap.to_seq.0 <= to);
            prop_assert!(members.intervals.iter().any(interval), "{:?} is inside one interval", gap);
            for seq in [gap.from_seq, gap.to_seq] {
                let position = conversation.outbox[seq.0 as usize - 1];
                prop_assert!((page.from.0 + 1..=page.to.0).contains(&position), "{:?} is inside its page", gap);
            }
        }
        Ok(())
    }

    /// What a client does with a page: it keeps the records, fills the gaps and stores the checkpoint.
    fn take_page(&mut self, user: &Name, reader: &mut Reader, page: &Delta) -> Check {
        for gap in &page.gaps {
            self.fill(user, reader, &gap.conversation, gap.from_seq, gap.to_seq)?;
        }
        for entry in &page.records {
            reader.take(entry);
        }
        reader.checkpoint = page.checkpoint;
        reader.cursor = Some(page.next);
        reader.at = page.to.0;
        reader.is_ahead = false;
        Ok(())
    }

    fn fill(&self, user: &str, reader: &mut Reader, conversation: &str, first: Seq, last: Seq) -> Check {
        let mut after = Seq(first.0 - 1);
        loop {
            let page = self.engine().history(user, conversation, HistoryRange::After(after), 0);
            let page = page.map_err(|error| failed("history", &error))?;
            for entry in page.iter().filter(|entry| entry.seq <= last) {
                reader.take(entry);
            }
            match page.last() {
                Some(entry) if entry.seq < last => after = entry.seq,
                _ => return Ok(()),
            }
        }
    }

    /// What a device that is caught up holds is what a fresh one would, but for messages that were recalled outside
    /// its user's intervals.
    pub(super) fn check_replica(&self, state: &State, user: &str, reader: &Reader) -> Check {
        for position in state.synced(&self.model, user) {
            let record = self.model.record(position);
            if !record.is_message() {
                continue;
            }
            let entry = model::entry(&self.model, state, position, Some(user));
            let What::Message { body, .. } = entry.what else { unreachable!("it is a message") };
            let held = reader.held.get(&(record.conversation.clone(), record.seq));
            let Some(held) = held else {
                return Err(TestCaseError::fail(format!(
                    "{user} lacks message {} of {:?}",
                    record.seq, record.conversation
                )));
            };
            let shown = text(&body);
            if reader.shown_lost.contains(&(record.conversation.clone(), record.seq)) {
                continue;
            }
            if *held != shown {
                let is_excused = shown.is_none() && !self.is_recall_seen(state, user, record);
                prop_assert!(
                    is_excused,
                    "{} holds {:?} for {:?} where a fresh read gives {:?}",
                    user,
                    held,
                    record,
                    shown
                );
            }
        }
        Ok(())
    }

    fn is_recall_seen(&self, state: &State, user: &str, message: &model::Record) -> bool {
        let is_recall = |position: &&u64| {
            let record = self.model.record(**position);
            record.conversation == message.conversation && record.fact == model::Fact::Recall { target: message.seq }
        };
        state.synced(&self.model, user).iter().any(|position| is_recall(&position))
    }
}
