//! Sync: what a device has missed, page by page, in position order, until it has everything; then what is new.
//!
//! A delta covers `(from, to]`: every record in there that the user may see is in it or inside a stated gap, and the
//! next one begins where it ended. A page always gets on: whatever it has looked at lies below its `to`, even if
//! nothing of it was for the user.

use super::candidates::gather;
use super::form::Form;
use super::gaps::{Cap, Gaps, LeftOut};
use super::shown::{Scope, Shown, complete, shown};
use super::{BATCH_RECORDS, View, snapshot, user_id};
use crate::entry::{Cursor, Delta, Place, ResetReason, SnapshotCursor, Start, SyncLimits};
use crate::reach::Halt;
use crate::state::State;
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::id::{ConversationId, Position, UserId};
use highwater_proto::limits::{DELTA_BYTES_MAX, DELTA_RECORDS_MAX};

/// Positions that a page looks at for each record that it may hold: some are not for the user, or left out by the cap.
const SCAN_PER_RECORD: usize = 4;
/// Fewest and most positions that a page looks at.
const SCAN_POSITIONS: (usize, usize) = (16, 4_096);

/// A page of what a device has missed. The catch-up ends, with its last page, at what is visible when it begins; after
/// that one comes what is new since.
pub(crate) fn sync<F: Form>(
    view: &View<'_>,
    user: &str,
    place: Place,
    limits: SyncLimits,
    form: &F,
) -> Result<Delta<F::Row>, Halt> {
    let (user, cursor) = {
        let state = view.state.read();
        let cursor = match place {
            Place::Start(start) => begin(&state, start),
            Place::Next(cursor) => go_on(&state, cursor),
        };
        (user_id(&state, user)?, cursor)
    };
    let limits = SyncLimits {
        records_max: within(limits.records_max, DELTA_RECORDS_MAX),
        bytes_max: within(limits.bytes_max, DELTA_BYTES_MAX),
        ..limits
    };
    if let Some(at) = cursor.snapshot {
        return snapshot::page(view, user, cursor, at, limits);
    }
    let delta = delta(view, user, cursor, limits, form)?;
    if cursor.after < cursor.through {
        view.pulls.note(user);
    }
    Ok(delta)
}

fn go_on(state: &State, cursor: Cursor) -> Cursor {
    let is_at_end = cursor.snapshot.is_none() && cursor.after >= cursor.through;
    let through = if is_at_end { state.applied } else { cursor.through };
    Cursor { through, ..cursor }
}

fn begin(state: &State, start: Start) -> Cursor {
    let through = state.applied;
    let at = |after| Cursor { after, through, snapshot: None };
    let reset = |reason| Cursor {
        after: Position::ZERO,
        through,
        snapshot: Some(SnapshotCursor { reason, after: ConversationId::ZERO }),
    };
    match start {
        Start::Beginning => at(Position::ZERO),
        Start::Snapshot => reset(ResetReason::Requested),
        Start::Checkpoint(checkpoint) => judge(state, &checkpoint).map_or_else(|| at(checkpoint.position), reset),
    }
}

/// Why a device at this checkpoint has to start anew, if it has to.
fn judge(state: &State, checkpoint: &Checkpoint) -> Option<ResetReason> {
    if checkpoint.incarnation != state.incarnation {
        return Some(ResetReason::Incarnation);
    }
    // An epoch that is not known is one that the store has lost.
    match state.epoch_end(checkpoint.epoch) {
        Some(end) if checkpoint.position <= end => None,
        _ => Some(ResetReason::Epoch),
    }
}

/// A limit that was asked for: 0 or too much means the most.
fn within(asked: usize, most: usize) -> usize {
    if asked == 0 { most } else { asked.min(most) }
}

fn delta<F: Form>(
    view: &View<'_>,
    user: UserId,
    cursor: Cursor,
    limits: SyncLimits,
    form: &F,
) -> Result<Delta<F::Row>, Halt> {
    let (scan_min, scan_max) = SCAN_POSITIONS;
    let scan = (limits.records_max * SCAN_PER_RECORD).clamp(scan_min, scan_max);
    let candidates = gather(view, user, cursor.after, cursor.through, scan)?;
    let mut page = Page {
        user,
        limits,
        cap: Cap::new(user, cursor.through, limits.per_conversation_max),
        records: Vec::with_capacity(candidates.positions.len().min(limits.records_max)),
        bytes: 0,
        gaps: Gaps::default(),
        to: cursor.after,
    };
    let mut is_full = false;
    for batch in candidates.positions.chunks(BATCH_RECORDS) {
        is_full = !page.take(view, batch, form)?;
        if is_full {
            break;
        }
    }
    let to = if candidates.is_exhausted && !is_full { cursor.through } else { page.to };
    let (checkpoint, applied) = at(view, to);
    Ok(Delta {
        from: cursor.after,
        to,
        checkpoint: Some(checkpoint),
        caught_up: to == applied,
        records: page.records,
        gaps: page.gaps.into_vec(),
        reset: None,
        conversations: Vec::new(),
        next: Cursor { after: to, ..cursor },
    })
}

/// The checkpoint at a visible position, and what is visible now.
pub(super) fn at(view: &View<'_>, position: Position) -> (Checkpoint, Position) {
    let state = view.state.read();
    (Checkpoint { incarnation: state.incarnation, epoch: state.epoch, position }, state.applied)
}

/// A delta in the making.
struct Page<R> {
    user: UserId,
    limits: SyncLimits,
    cap: Cap,
    records: Vec<R>,
    bytes: usize,
    gaps: Gaps,
    /// Everything up to here is in it, or not for the user.
    to: Position,
}

/// What is to become of a record.
enum Fate<R> {
    /// Not for the user.
    Hidden,
    LeftOut(LeftOut),
    /// In the form that was wanted, and what it weighs.
    AtHand(R, usize),
    /// The next of those that have still to be completed.
    Delivered,
}

impl<R> Page<R> {
    /// Takes the records at these positions in. False: one did not fit any more, and `to` is before it.
    fn take<F: Form<Row = R>>(&mut self, view: &View<'_>, positions: &[Position], form: &F) -> Result<bool, Halt> {
        let records = view.records(positions)?;
        self.cap.prepare(view, &records)?;
        let mut fates = Vec::with_capacity(records.len());
        let mut delivered: Vec<Shown> = Vec::new();
        {
            let state = view.state.read();
            for record in &records {
                let at_hand = form.at_hand(&state, self.user, record);
                let shown = match at_hand {
                    Some(_) => None,
                    None => shown(&state, self.user, record, Scope::Intervals),
                };
                if at_hand.is_none() && shown.is_none() {
                    fates.push(Fate::Hidden);
                    continue;
                }
                fates.push(match self.cap.leaves_out(&state, record) {
                    Some(message) => Fate::LeftOut(message),
                    None => {
                        delivered.extend(shown);
                        at_hand.map_or(Fate::Delivered, |(row, weight)| Fate::AtHand(row, weight))
                    }
                });
            }
        }
        let mut delivered = complete(view, delivered)?.into_iter();
        for (position, fate) in positions.iter().zip(fates) {
            match fate {
                Fate::Hidden => {}
                Fate::LeftOut(message) => self.gaps.add(message),
                Fate::AtHand(row, weight) => {
                    if !self.push(row, weight) {
                        return Ok(false);
                    }
                }
                Fate::Delivered => {
                    let Some(entry) = delivered.next() else { return Ok(true) };
                    let (row, weight) = form.of(entry);
                    if !self.push(row, weight) {
                        return Ok(false);
                    }
                }
            }
            self.to = *position;
        }
        Ok(true)
    }

    /// False: it does not fit. The first one always does.
    fn push(&mut self, row: R, weight: usize) -> bool {
        let bytes = self.bytes + weight;
        let is_over = self.records.len() >= self.limits.records_max || bytes > self.limits.bytes_max;
        if is_over && !self.records.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.records.push(row);
        true
    }
}
