//! Reading while others write: live cursors, slow readers, and persists in between (promises P2, P4, P5).

use crate::fixture::{Store, conversation, member, receipt, send, session};
use highwater_engine::command::{Caller, Command};
use highwater_engine::entry::{Body, Entry, Start, SyncLimits, What};
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Engine, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::Duration;

/// How long something that must come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const WRITERS: usize = 3;
const SENDS: u64 = 1_500;
/// The body of the last message.
const LAST: &str = "the last";

/// A wake-up that is remembered until it is waited for, as a session would keep it.
fn waker() -> (Arc<dyn Fn() + Send + Sync>, Receiver<()>) {
    let (wake, woken) = sync_channel(1);
    // A full channel holds a wake-up already.
    let wake = move || {
        let _is_first = wake.try_send(()).is_ok();
    };
    (Arc::new(wake), woken)
}

#[test]
fn subscribers_are_woken_by_what_they_may_see() {
    let store = Store::new(Options::default());
    let engine = store.open();
    engine.execute(conversation(Kind::Group, "g", &[member(0), member(1)])).unwrap();
    engine.execute(conversation(Kind::Group, "other", &[member(0), member(2)])).unwrap();
    let session = session(&engine, "user-0", "d", false);
    let (wake, woken) = waker();
    let subscription = engine.subscribe("user-1", wake).unwrap();
    receipt(&engine, send(session, 1, "g", "for you"));
    woken.recv_timeout(PATIENCE).expect("a message wakes");
    receipt(&engine, send(session, 2, "other", "not for you"));
    receipt(&engine, send(session, 3, "other", "not for you"));
    assert!(woken.try_recv().is_err(), "somebody else's message does not wake");
    // What it has read on another device.
    let through = highwater_engine::proto::id::Seq(2);
    engine.execute(Command::Read { user: member(1), conversation: "g".into(), through }).unwrap();
    woken.recv_timeout(PATIENCE).expect("an own read mark wakes");
    // Whoever is removed is told, and hears nothing more.
    let (caller, members) = (Caller::Service, vec![member(1)]);
    engine.execute(Command::Remove { caller, conversation: "g".into(), members }).unwrap();
    woken.recv_timeout(PATIENCE).expect("a removal wakes the removed");
    receipt(&engine, send(session, 4, "g", "without you"));
    receipt(&engine, send(session, 5, "g", "without you"));
    assert!(woken.try_recv().is_err(), "a former member is not woken");
    drop(subscription);
    assert!(engine.subscribe("nobody", Arc::new(|| {})).is_err());
}

/// Reads as a live session does, woken and then everything new from its cursor, up to the last message.
fn follow(engine: &Engine, user: usize, records_max: usize) -> Vec<u64> {
    let (wake, woken) = waker();
    let user = member(user);
    let _subscription = engine.subscribe(&user, wake).unwrap();
    let limits = SyncLimits { records_max, ..SyncLimits::default() };
    let mut page = engine.sync(&user, Start::Beginning, limits).unwrap();
    let mut positions = Vec::new();
    let mut reached = 0;
    loop {
        assert_eq!(page.from.0, reached, "a delta begins where the one before it ended");
        assert!(page.to.0 >= reached, "checkpoints only move forward");
        reached = page.to.0;
        positions.extend(page.records.iter().map(|entry| entry.position.0));
        if page.records.iter().any(is_last) {
            return positions;
        }
        if page.caught_up {
            woken.recv_timeout(PATIENCE).expect("there is more to come");
        }
        page = engine.sync_next(&user, page.next, limits).unwrap();
    }
}

fn is_last(entry: &Entry) -> bool {
    matches!(&entry.what, What::Message { body: Body::Original(body), .. } if body == LAST)
}

/// Three writers, and changes of mode and persists all the time; readers of every pace see the same, once, in order.
#[test]
fn readers_of_every_pace_see_the_same() {
    let store = Store::new(Options { segment_bytes_max: 64 << 10, persist_head_bytes: 32 << 10, ..Options::default() });
    let engine = &store.open();
    let members: Vec<_> = (0..WRITERS + 3).map(member).collect();
    engine.execute(conversation(Kind::Group, "g", &members)).unwrap();
    let is_written = &AtomicBool::new(false);
    let read: Vec<Vec<u64>> = std::thread::scope(|scope| {
        // The last one reads a single record at a time.
        let paces = [(WRITERS, 0), (WRITERS + 1, 7), (WRITERS + 2, 1)];
        let readers = paces.map(|(user, records_max)| scope.spawn(move || follow(engine, user, records_max)));
        let storing = scope.spawn(move || {
            for round in 0_u64.. {
                if is_written.load(Ordering::SeqCst) {
                    return;
                }
                engine.persist().unwrap();
                set_fanout(engine, if round.is_multiple_of(2) { Fanout::Read } else { Fanout::Write });
            }
        });
        let writers: Vec<_> = (0..WRITERS).map(|user| scope.spawn(move || write(engine, user))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_written.store(true, Ordering::SeqCst);
        storing.join().unwrap();
        // The last record says that there are no more.
        let session = session(engine, "user-0", "last", false);
        receipt(engine, send(session, 1, "g", LAST));
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let fresh = follow(engine, 0, 0);
    assert!(fresh.len() as u64 > WRITERS as u64 * SENDS);
    assert!(fresh.is_sorted());
    assert!(read.iter().all(|positions| *positions == fresh), "every reader saw everything, once, in order");
}

fn set_fanout(engine: &Engine, fanout: Fanout) {
    let (caller, conversation) = (Caller::Service, "g".into());
    engine
        .execute(Command::Settings { caller, conversation, open: None, history: None, fanout: Some(fanout) })
        .unwrap();
}

fn write(engine: &Engine, user: usize) {
    let session = session(engine, &member(user), "d", false);
    let (told, answers) = channel();
    for number in 1..=SENDS {
        let told = told.clone();
        let completion = Box::new(move |answer: Result<_, _>| told.send(answer.map(drop)).unwrap());
        engine.submit(send(session, number, "g", format!("{user} {number}")), completion).unwrap();
        // Some of a writer's sends are in flight at any time.
        if number % 32 == 0 {
            answers.iter().take(16).for_each(|answer| answer.unwrap());
        }
    }
    drop(told);
    answers.iter().for_each(|answer| answer.unwrap());
}
