//! Who is woken when something new is visible: a registry of wakers by user.
//!
//! A waker says only *that* there is something; what it is, the subscriber reads from its cursor. So a subscriber costs
//! the same few bytes however slow it is.

use crate::state::{State, Touched};
use crate::sync::{Mutex, RwLock};
use highwater_proto::id::UserId;
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::Arc;

/// Called when there is something new; must not block.
pub(crate) type Waker = Arc<dyn Fn() + Send + Sync>;

/// Users who wait, and their wakers.
#[derive(Clone, Default)]
pub(crate) struct Subscriptions {
    registry: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    next: u64,
    /// No list is empty.
    wakers: FxHashMap<UserId, Vec<(u64, Waker)>>,
}

/// A registered waker; dropping it ends the registration.
pub struct Subscription {
    registry: Arc<Mutex<Registry>>,
    user: UserId,
    number: u64,
}

impl Subscriptions {
    /// Registers a waker for a user, until the subscription is dropped. To miss nothing, register first and read then.
    pub(crate) fn subscribe(&self, user: UserId, wake: Waker) -> Subscription {
        let mut registry = self.registry.lock();
        let number = registry.next;
        registry.next += 1;
        registry.wakers.entry(user).or_default().push((number, wake));
        Subscription { registry: self.registry.clone(), user, number }
    }

    /// Wakes those whom a group of records concerns, each once. Takes the state for reading; neither lock is held
    /// while wakers run.
    pub(crate) fn wake(&self, state: &RwLock<State>, touched: &Touched) {
        if self.registry.lock().wakers.is_empty() {
            return;
        }
        // In a loop's head the lock would live as long as the loop.
        let concerned = self.concerned(&state.read(), touched);
        for wake in concerned {
            wake();
        }
    }

    fn concerned(&self, state: &State, touched: &Touched) -> Vec<Waker> {
        let mut conversations = touched.conversations.clone();
        conversations.sort_unstable();
        conversations.dedup();
        let registry = self.registry.lock();
        // Each user once, whatever it is concerned by; as a rule one conversation concerns most of them.
        let mut users: Vec<UserId> = touched.users.clone();
        for conversation in conversations.into_iter().filter_map(|id| state.conversation(id)) {
            let active = &conversation.active;
            // Whichever set is smaller is walked: the members, or those who wait.
            if active.len() <= registry.wakers.len() {
                users.extend_from_slice(active);
            } else {
                users.extend(registry.wakers.keys().filter(|user| active.binary_search(user).is_ok()));
            }
        }
        users.sort_unstable();
        users.dedup();
        let mut wakers = Vec::with_capacity(users.len().min(registry.wakers.len()));
        for user in users {
            let of_user = registry.wakers.get(&user).into_iter().flatten();
            wakers.extend(of_user.map(|(_, wake)| wake.clone()));
        }
        wakers
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut registry = self.registry.lock();
        let mut ended = None;
        if let Some(wakers) = registry.wakers.get_mut(&self.user) {
            let place = wakers.iter().position(|(number, _)| *number == self.number);
            ended = place.map(|place| wakers.swap_remove(place));
            if wakers.is_empty() {
                registry.wakers.remove(&self.user);
            }
        }
        drop(registry);
        // A waker may own anything; it goes without the lock.
        drop(ended);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("user", &self.user).finish_non_exhaustive()
    }
}
