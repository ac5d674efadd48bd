//! Makes groups of the same size in every run: the sequencer is held up at its look at the clock until everything that
//! is to be in the next group has been submitted.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// What the clock shows, in ms since 1970.
const TIME_MS: u64 = 1_700_000_000_000;
/// An engine that does not look at the clock for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that stands still, and at which the engine can be held up.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Closed,
    /// Closed, and somebody waits before it.
    Reached,
}

impl Gate {
    /// From now on whoever looks at the clock waits.
    pub(super) fn close(&self) {
        *self.state.lock() = State::Closed;
    }

    /// Waits until somebody does.
    ///
    /// # Panics
    /// If nobody does: then the guard does not fit the engine any more.
    pub(super) fn wait_until_reached(&self) {
        let mut state = self.state.lock();
        while *state != State::Reached {
            let timed_out = self.changed.wait_for(&mut state, PATIENCE).timed_out();
            assert!(!timed_out, "the engine did not look at the clock before it made a group");
        }
    }

    /// Lets everybody pass.
    pub(super) fn open(&self) {
        *self.state.lock() = State::Open;
        self.changed.notify_all();
    }

    /// The time, once the gate is open.
    pub(super) fn time_ms(&self) -> u64 {
        let mut state = self.state.lock();
        while *state != State::Open {
            *state = State::Reached;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
        TIME_MS
    }
}
