//! From the engine's threads to the tasks that serve connections.
//!
//! A group of commands concerns hundreds of sessions, and waking a task from a thread outside the runtime costs a system
//! call. So the engine's threads only put sessions on lists, and wake one task for all of them; that one wakes the
//! sessions from inside the runtime, where it is cheap. Those who have answers come first and at once, those who have
//! something to read in small lots: an answer then waits for a lot, not for everybody who listens to a large
//! conversation.
//!
//! A session stands on a list at most once, so the lists are as long as there are sessions at most.

use super::outbox::Outbox;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// How many sessions that have something to read are woken before others have a turn.
const LOT: usize = 32;

/// Sessions to be woken.
#[derive(Default)]
pub(crate) struct Handover {
    lists: Mutex<Lists>,
    ready: Notify,
}

#[derive(Default)]
struct Lists {
    answered: Vec<Arc<Outbox>>,
    rung: Vec<Arc<Bell>>,
}

impl Lists {
    fn is_empty(&self) -> bool {
        self.answered.is_empty() && self.rung.is_empty()
    }
}

impl Handover {
    /// Lists an outbox that has something to be written. The caller sees to it that it stands there once.
    pub(super) fn answered(&self, outbox: Arc<Outbox>) {
        self.list(|lists| lists.answered.push(outbox));
    }

    fn list(&self, add: impl FnOnce(&mut Lists)) {
        let mut lists = self.lists.lock();
        let is_first = lists.is_empty();
        add(&mut lists);
        drop(lists);
        if is_first {
            self.ready.notify_one();
        }
    }

    /// Wakes whoever is listed, until it is dropped.
    pub(crate) async fn serve(&self) {
        let mut answered = Vec::new();
        let mut rung: VecDeque<Arc<Bell>> = VecDeque::new();
        loop {
            {
                let mut lists = self.lists.lock();
                std::mem::swap(&mut lists.answered, &mut answered);
                rung.extend(lists.rung.drain(..));
            }
            if answered.is_empty() && rung.is_empty() {
                // Whoever lists something first leaves a permit, so that nothing is missed between looking and waiting.
                self.ready.notified().await;
                continue;
            }
            answered.drain(..).for_each(|outbox: Arc<Outbox>| outbox.wake());
            rung.drain(..rung.len().min(LOT)).for_each(|bell| bell.wake());
            tokio::task::yield_now().await;
        }
    }

    /// Lets go of everybody, once nobody serves any more.
    pub(crate) fn clear(&self) {
        *self.lists.lock() = Lists::default();
    }
}

/// What wakes somebody who waits for something new to read.
#[derive(Default)]
pub(super) struct Bell {
    woken: Notify,
    is_listed: AtomicBool,
}

impl Bell {
    /// Says that there is something new; from any thread.
    pub(super) fn ring(self: &Arc<Self>, handover: &Handover) {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            handover.list(|lists| lists.rung.push(self.clone()));
        }
    }

    /// Resolves when it was rung since the last time.
    pub(super) async fn rung(&self) {
        self.woken.notified().await;
    }

    fn wake(&self) {
        // First: what is rung from here on may be something that the woken one does not see.
        self.is_listed.swap(false, Ordering::AcqRel);
        self.woken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_proto::wire::{ServerFrame, Welcome, server_frame};

    /// Turns of the runtime in which whatever can run has run.
    async fn turns() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_is_rung_often_is_listed_once_and_misses_nothing() {
        let (handover, bell) = (Arc::new(Handover::default()), Arc::new(Bell::default()));
        for _ in 0..3 {
            bell.ring(&handover);
        }
        assert_eq!(handover.lists.lock().rung.len(), 1);
        let serving = tokio::spawn({
            let handover = handover.clone();
            async move { handover.serve().await }
        });
        bell.rung().await;
        turns().await;
        // Rung while nobody listens, it is heard afterwards.
        bell.ring(&handover);
        turns().await;
        bell.rung().await;
        serving.abort();
    }

    #[tokio::test]
    async fn an_answer_waits_for_a_lot_and_not_for_all() {
        let handover = Arc::new(Handover::default());
        let bells: Vec<_> = (0..LOT * 4).map(|_| Arc::new(Bell::default())).collect();
        bells.iter().for_each(|bell| bell.ring(&handover));
        let serving = tokio::spawn({
            let handover = handover.clone();
            async move { handover.serve().await }
        });
        bells[0].rung().await;
        let outbox = Arc::new(Outbox::new(1, handover.clone()));
        let frame = ServerFrame { body: Some(server_frame::Body::Welcome(Welcome::default())) };
        assert!(outbox.push(&frame, 0));
        outbox.next().await.expect("a frame");
        let last = bells.last().expect("there are some");
        assert!(last.is_listed.load(Ordering::Acquire), "the last one is woken before the answer is written");
        last.rung().await;
        serving.abort();
    }
}
