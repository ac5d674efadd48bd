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
pub(crate) struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        whole(self.0.read())
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        whole(self.0.write())
    }

    /// Unless that would have to wait.
    #[cfg(test)]
    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.0.try_write().ok()
    }
}

fn whole<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

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
