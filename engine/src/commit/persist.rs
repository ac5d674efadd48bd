//! Persisting: the head is frozen at a position and written to the store in one atomic step with that position.
//!
//! At most two heads exist. When the active one is full while the frozen one is still being written, the applier waits,
//! and with it the senders.

use super::group::WriterInput;
use super::shared::{PersistJob, Shared};
use crate::options::Durability;
use crate::store::SoftDevice;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::DeviceId;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

/// Whether the active head should be frozen now.
pub(super) fn is_due(shared: &Shared, last: Instant) -> bool {
    let state = shared.state.read();
    let options = &shared.options;
    let is_full = state.head.bytes >= options.persist_head_bytes || state.dirty.len() >= options.persist_dirty_rows;
    is_full || (last.elapsed() >= options.persist_interval && state.applied > state.persisted)
}

/// Freezes the head, once the one before is written, and hands it to the persister.
pub(super) fn start(shared: &Shared) {
    let mut progress = shared.persisted.0.lock();
    while progress.in_progress && shared.failure().is_none() {
        shared.persisted.1.wait(&mut progress);
    }
    if shared.failure().is_some() {
        return;
    }
    let soft = dirty_soft(shared);
    let mut state = shared.state.write();
    let rows = shared.store.rows(&state, &soft);
    let head = Arc::new(std::mem::take(&mut state.head));
    state.dirty = Default::default();
    state.frozen = Some(head.clone());
    let through = state.applied;
    drop(state);
    progress.in_progress = true;
    // The persister ends after everybody who could send it something.
    let _sent = shared.persister.send(Some(PersistJob { rows, head, through }));
}

/// Persists everything that is visible now, and waits for it.
pub(crate) fn now(shared: &Shared) -> Result<(), Error> {
    start(shared);
    let mut progress = shared.persisted.0.lock();
    while progress.in_progress && shared.failure().is_none() {
        shared.persisted.1.wait(&mut progress);
    }
    shared.failure().map_or(Ok(()), Err)
}

/// Runs until told to end.
pub(super) fn run(shared: &Shared, jobs: &Receiver<Option<PersistJob>>) {
    while let Ok(Some(job)) = jobs.recv() {
        let through = job.through;
        let written = sync_log(shared).and_then(|()| shared.store.persist(job.rows, &job.head));
        match written {
            Ok(()) => {
                let mut state = shared.state.write();
                state.frozen = None;
                state.persisted = through;
            }
            // The store is being dropped, as in a crash: the log will be replayed.
            Err(error) if error.code == Code::Busy => {}
            Err(error) => shared.poison(&error),
        }
        shared.persisted.0.lock().in_progress = false;
        shared.persisted.1.notify_all();
    }
}

/// The index must not run ahead of what the log has synced.
fn sync_log(shared: &Shared) -> Result<(), Error> {
    if shared.options.durability == Durability::Power || shared.is_log_closed() {
        return Ok(());
    }
    let (done, synced) = sync_channel(1);
    let ended = || Error::new(Code::Busy, "the store is closed");
    shared.writer.send(WriterInput::Sync(done)).map_err(|_| ended())?;
    synced.recv().map_err(|_| ended())?
}

fn dirty_soft(shared: &Shared) -> Vec<(DeviceId, SoftDevice)> {
    let mut dirty: Vec<DeviceId> = std::mem::take(&mut *shared.soft_dirty.lock()).into_iter().collect();
    dirty.sort_unstable();
    let soft = shared.soft.lock();
    dirty.into_iter().filter_map(|device| Some((device, *soft.get(&device)?))).collect()
}
