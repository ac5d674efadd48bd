//! Persisting: the head is frozen at a position and written to the store in one atomic step with that position.
//!
//! Freezing is a matter of microseconds: lists change hands. What was frozen is encoded in short slices and written by a
//! thread of low priority, so that commits hardly notice.
//!
//! At most two heads exist. When the active one is full while the frozen one is still being written, commits wait, and
//! with them the senders.

use super::shared::{PersistJob, Shared, closed};
use crate::priority;
use crate::state::Head;
use crate::store::{Rows, SoftDevice};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{DeviceId, Position};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

/// Rows encoded before the lock is given up: some tens of microseconds.
const SLICE_ROWS: usize = 128;

/// Slices after which readers get a turn where there are no commits.
const SLICES_PER_PAUSE: usize = 16;

/// How long commits and readers have the lock for themselves then.
const SLICE_PAUSE: Duration = Duration::from_micros(100);

/// Whether the active head should be frozen now.
pub(super) fn is_due(shared: &Shared) -> bool {
    let last = shared.persisted.0.lock().began;
    let state = shared.state.read();
    let options = &shared.options;
    let is_full = state.head.bytes() >= options.persist_head_bytes
        || state.dirty.len() >= options.persist_dirty_rows
        || state.applied.0 - state.head.base().0 >= options.persist_records;
    is_full || (last.elapsed() >= options.persist_interval && state.applied > state.persisted)
}

/// Freezes the head, once the one before is written, and hands it to the persister.
///
/// Nothing is frozen after a failure, and after the persister has ended.
pub(super) fn start(shared: &Shared) {
    let mut progress = shared.persisted.0.lock();
    while progress.in_progress && shared.failure().is_none() {
        progress = shared.persisted.1.wait(progress);
    }
    if shared.failure().is_some() || progress.has_ended {
        return;
    }
    let began = Instant::now();
    progress.began = began;
    let soft = std::mem::take(&mut *shared.soft_dirty.lock());
    let mut state = shared.state.write();
    let (head, changed) = state.freeze(shared.spare_head.lock().take());
    let rows = shared.store.rows(&state, changed, head.base());
    let through = state.applied;
    drop(state);
    progress.done.inbox_entries += head.inbox_entries();
    // It ends only after it has said so, under the lock that is held here.
    progress.in_progress = shared.persister.send(Some(PersistJob { rows, soft, head, through, began })).is_ok();
}

/// Persists everything that is visible now, and waits for it.
pub(crate) fn now(shared: &Shared) -> Result<(), Error> {
    start(shared);
    let mut progress = shared.persisted.0.lock();
    while progress.in_progress && shared.failure().is_none() {
        progress = shared.persisted.1.wait(progress);
    }
    match shared.failure() {
        Some(error) => Err(error),
        None if progress.has_ended => Err(closed()),
        None => Ok(()),
    }
}

/// Ends the persister once it has written what was handed to it.
pub(super) fn end(shared: &Shared) {
    shared.persisted.0.lock().has_ended = true;
    // It is there until it is told this.
    let _told = shared.persister.send(None);
}

/// Runs until told to end.
pub(super) fn run(shared: &Shared, jobs: &Receiver<Option<PersistJob>>) {
    while let Ok(Some(job)) = jobs.recv() {
        let PersistJob { mut rows, soft, head, through, began } = job;
        rows.put_soft(soft_rows(shared, soft));
        priority::lowered("hw-index", || rows.sort());
        encode(shared, &mut rows, through);
        let write = || shared.store.persist(rows, &head);
        // The index must not run ahead of what the log has synced.
        let written = shared.durable.sync().and_then(|()| priority::lowered("hw-index", write));
        match written {
            Ok(()) => {
                let mut state = shared.state.write();
                state.frozen = None;
                state.persisted = through;
                drop(state);
                // A read that is still under way keeps it, and its memory is not used again.
                let spare = Arc::into_inner(head).map(Head::emptied);
                *shared.spare_head.lock() = spare;
                let mut progress = shared.persisted.0.lock();
                progress.done.count += 1;
                progress.done.last = began.elapsed();
            }
            // The store is being dropped, as in a crash: the log will be replayed.
            Err(error) if error.code == Code::Busy => {}
            Err(error) => shared.poison(&error),
        }
        shared.persisted.0.lock().in_progress = false;
        shared.persisted.1.notify_all();
    }
}

/// Encodes the frozen rows, giving way to commits and reads after every few of them.
fn encode(shared: &Shared, rows: &mut Rows, through: Position) {
    let mut slices: usize = 0;
    loop {
        rows.reserve(SLICE_ROWS);
        if rows.encode(&mut shared.state.write(), SLICE_ROWS) {
            return;
        }
        // Commits that go on meanwhile get most of the time. Nothing that waits just now proves that there are none:
        // whoever gives the next one may be waiting for this very processor.
        slices += 1;
        if shared.visible() > through || slices.is_multiple_of(SLICES_PER_PAUSE) {
            thread::sleep(SLICE_PAUSE);
        }
    }
}

/// Soft state may be newer than the freeze: it is no part of what the records say.
fn soft_rows(shared: &Shared, changed: FxHashSet<DeviceId>) -> Vec<(DeviceId, SoftDevice)> {
    let mut changed: Vec<DeviceId> = changed.into_iter().collect();
    changed.sort_unstable();
    let mut rows = Vec::with_capacity(changed.len());
    for some in changed.chunks(SLICE_ROWS) {
        let soft = shared.soft.lock();
        rows.extend(some.iter().filter_map(|device| Some((*device, *soft.get(device)?))));
    }
    rows
}
