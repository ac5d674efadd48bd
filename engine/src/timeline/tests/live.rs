//! Live: woken readers go on from their cursor and miss nothing, whatever happens meanwhile.

use super::*;
use crate::state::{State, Touched};
use crate::sync::RwLock;
use crate::timeline::Subscriptions;
use highwater_proto::id::Incarnation;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_reader_beside_writers_gets_every_record_once() {
    const MESSAGES: u64 = 200;
    let mut fixture = Fixture::new();
    fixture.group("write", &["ann", "bob"]);
    fixture.group("read", &["ann", "bob"]);
    fixture.pin("read", Fanout::Read);
    fixture.session("bob");
    let (wake, woken) = channel();
    // The receiver may have ended.
    let wake = move || {
        let _ended = wake.send(());
    };
    let _subscription = fixture.engine.subscribe("ann", Arc::new(wake)).unwrap();
    let engine = fixture.engine.clone();
    let reader = std::thread::spawn(move || {
        let asked = limits(3, 0);
        let mut page = engine.sync("ann", Start::Beginning, asked).unwrap();
        let mut records = Vec::new();
        loop {
            records.append(&mut page.records);
            if records.len() as u64 >= 3 + 2 * MESSAGES {
                return records;
            }
            if page.caught_up {
                woken.recv_timeout(TIMEOUT).unwrap();
            }
            let next = engine.sync_next("ann", page.next, asked).unwrap();
            assert_eq!(next.from, page.to);
            page = next;
        }
    });
    for number in 0..MESSAGES {
        fixture.sessions.entry("bob".to_owned()).and_modify(|(_, last)| *last = 2 * number);
        fixture.send("bob", "write", &format!("{number}"));
        fixture.send("bob", "read", &format!("{number}"));
        if number % 50 == 25 {
            fixture.engine.persist().unwrap();
        }
    }
    let records = reader.join().unwrap();
    assert!(records.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(seen(&records), fixture.whole("ann"));
}

#[test]
fn those_concerned_are_woken_and_no_others() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    fixture.group("other", &["cy"]);
    let counters: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
    let mut subscriptions: Vec<_> = ["ann", "bob", "cy"]
        .iter()
        .zip(&counters)
        .map(|(user, counter)| {
            let counter = counter.clone();
            let wake = move || {
                counter.fetch_add(1, Ordering::SeqCst);
            };
            fixture.engine.subscribe(user, Arc::new(wake)).unwrap()
        })
        .collect();
    // A later command is answered only after those concerned by an earlier one were woken.
    let woken = |fixture: &mut Fixture| {
        fixture.send("cy", "other", "flush");
        counters.iter().map(|counter| counter.swap(0, Ordering::SeqCst)).collect::<Vec<_>>()
    };
    woken(&mut fixture);
    fixture.send("ann", "g", "2");
    assert_eq!(woken(&mut fixture)[..2], [1, 1]);
    fixture.remove("g", "bob");
    assert_eq!(woken(&mut fixture)[..2], [1, 1], "the removal is the last that he is woken for");
    fixture.send("ann", "g", "4");
    assert_eq!(woken(&mut fixture)[..2], [1, 0]);
    fixture.service(Command::Read { user: "ann".into(), conversation: "g".into(), through: Seq(4) });
    subscriptions.remove(0);
    fixture.send("ann", "g", "5");
    assert_eq!(woken(&mut fixture)[..2], [0, 0], "a dropped subscription ends, and unchanged marks wake nobody");
    assert_eq!(code(fixture.engine.subscribe("nobody", Arc::new(|| {}))), Code::NotFound);
}

#[test]
fn no_lock_is_held_while_wakers_run() {
    let state = Arc::new(RwLock::new(State::new(Incarnation::default())));
    let subscriptions = Subscriptions::default();
    let free = Arc::new(AtomicUsize::new(0));
    let (locks, registry, counter) = (state.clone(), subscriptions.clone(), free.clone());
    let wake = move || {
        let is_free = locks.try_write().is_some();
        drop(registry.subscribe(UserId(2), Arc::new(|| {})));
        counter.fetch_add(usize::from(is_free), Ordering::SeqCst);
    };
    let _subscription = subscriptions.subscribe(UserId(1), Arc::new(wake));
    let touched = Touched { users: vec![UserId(1)], conversations: Vec::new() };
    subscriptions.wake(&state, &touched);
    assert_eq!(free.load(Ordering::SeqCst), 1);
}
