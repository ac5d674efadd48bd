//! Locks whose waiting threads sleep.
//!
//! parking_lot's threads give up the processor some times (`sched_yield`) before they sleep. While a persist keeps the
//! processors busy at low priority, each of these gives it a tick of the scheduler: 4 ms at 250 Hz, whatever the priority,
//! for a lock that is held for microseconds. Acknowledgements were seen to wait 8 to 11 ms. The standard library's spin for
//! a moment and then sleep; they also know poisoning, which is of no use here: a thread that panics takes the engine with
//! it, whoever holds what.

use std::sync::{LockResult, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// A lock for one.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        whole(self.0.lock())
    }
}

/// Where threads wait for what a [`Mutex`] guards to change.
#[derive(Debug, Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Gives the lock up until notified, or sooner.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        whole(self.0.wait(guard))
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A lock for one that writes, or several that read.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T> {
    lock: std::sync::RwLock<T>,
    /// Held by the writer who is next. Alone, the lock goes to whoever comes first after it was given up: mostly to who has
    /// just given it up, since that one runs already.
    turn: Mutex<()>,
}

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: std::sync::RwLock::new(value), turn: Mutex::new(()) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        whole(self.lock.read())
    }

    /// Writers come one after the other, however often each of them comes.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let _turn = self.turn.lock();
        whole(self.lock.write())
    }

    /// Gives the lock up, lets a writer who waits have it, and takes it again.
    pub(crate) fn give_way<'a>(&'a self, guard: RwLockReadGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        drop(guard);
        drop(self.turn.lock());
        self.read()
    }

    /// Unless that would have to wait.
    #[cfg(test)]
    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.lock.try_write().ok()
    }
}

fn whole<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A thread that takes the lock again and again does not keep the other from it: in each of 100 rounds the other one
    /// gets it before the first has had it twice more.
    fn gets_its_turn(again: impl for<'a> Fn(&'a RwLock<u32>, RwLockReadGuard<'a, u32>) -> u32) {
        let lock = RwLock::new(0);
        for round in 1..=100 {
            thread::scope(|scope| {
                let held = lock.read();
                let writer = scope.spawn(|| *lock.write() += 1);
                let until = Instant::now() + PATIENCE;
                while lock.turn.0.try_lock().is_ok() {
                    assert!(Instant::now() < until, "a writer who waits has the turn");
                    thread::yield_now();
                }
                assert_eq!(again(&lock, held), round);
                writer.join().expect("it writes");
            });
        }
    }

    #[test]
    fn a_writer_that_waits_comes_before_a_reader_that_gives_way() {
        gets_its_turn(|lock, held| *lock.give_way(held));
    }

    #[test]
    fn writers_come_in_turns() {
        gets_its_turn(|lock, held| {
            drop(held);
            *lock.write()
        });
    }

    #[test]
    fn a_panic_elsewhere_spoils_nothing() {
        let (mutex, lock) = (Mutex::new(1), RwLock::new(1));
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _held = (mutex.lock(), lock.write());
                panic!("on purpose");
            });
            assert!(panicking.join().is_err());
        });
        assert_eq!((*mutex.lock(), *lock.read()), (1, 1));
        *lock.write() += 1;
        assert_eq!(*lock.read(), 2);
    }
}
