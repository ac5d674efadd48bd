//! The engine's own queue, with eight times as much offered as it takes.

use crate::gate::{Gate, GatedDisk, OpenAtEnd};
use crate::{PATIENCE, alone, resident_bytes};
use highwater_engine::command::{Caller, Create, Destination, OpenSession, Send};
use highwater_engine::entry::{Body, Start, SyncLimits, What};
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::limits::Limits;
use highwater_engine::proto::record::Kind;
use highwater_engine::{Command, Engine, Options, Outcome, SendSession};
use std::sync::{Arc, Condvar, Mutex};

const SENDERS: usize = 8;
const PER_SENDER: u64 = 4_000;
const BODY_BYTES: usize = 4 << 10;
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Syncs that return one by one.
const SYNCS: u64 = 40;
/// Commands whose records fit one group: what a single sync may acknowledge.
const PER_SYNC_MAX: u64 = (1 << 20) / BODY_BYTES as u64 + 1;
/// A queued command may stand in memory three times: as it came, as a record, and in the group's frame. To that come
/// the heads of the timelines, what the index keeps in memory, and what the allocator does not give back.
const RESIDENT_BYTES_MAX: u64 = 3 * QUEUE_BYTES_MAX as u64 + (16 << 20);

const _: () = assert!(BODY_BYTES * PER_SENDER as usize * SENDERS > 6 * QUEUE_BYTES_MAX, "most of it has to wait");

/// What the senders have seen.
#[derive(Default)]
struct Ledger {
    /// Bytes of bodies that were submitted and not answered.
    outstanding: usize,
    answered: u64,
    /// Senders that were told `busy` and wait for an answer.
    blocked: usize,
    finished: usize,
    busy: u64,
}

#[derive(Default)]
struct Watched {
    ledger: Mutex<Ledger>,
    changed: Condvar,
}

impl Watched {
    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until the ledger is so, and looks at it.
    fn wait<T>(&self, what: &str, is_so: impl Fn(&Ledger) -> bool, look: impl FnOnce(&Ledger) -> T) -> T {
        let ledger = self.ledger.lock().unwrap();
        let (ledger, late) = self.changed.wait_timeout_while(ledger, PATIENCE, |ledger| !is_so(ledger)).unwrap();
        assert!(!late.timed_out(), "{what} did not come");
        look(&ledger)
    }
}

/// Submits all of a sender's messages in order, each as soon as the queue takes it.
fn send_all(engine: &Engine, session: SendSession, watched: &Arc<Watched>) {
    for number in 1..=PER_SENDER {
        let mut body = vec![b'x'; BODY_BYTES];
        body[..8].copy_from_slice(&number.to_le_bytes());
        loop {
            let answered = watched.ledger.lock().unwrap().answered;
            let told = Arc::clone(watched);
            let completion = Box::new(move |result: Result<Outcome, Error>| {
                assert!(matches!(&result, Ok(Outcome::Receipt(receipt)) if !receipt.repeated), "{result:?}");
                told.change(|ledger| {
                    ledger.outstanding -= BODY_BYTES;
                    ledger.answered += 1;
                });
            });
            // Counted before, since the answer may be there before this thread goes on.
            watched.change(|ledger| ledger.outstanding += BODY_BYTES);
            let command = Command::Send(Send {
                session,
                client_seq: number,
                destination: Destination::Conversation("g".into()),
                body: body.clone().into(),
                quote: None,
                mentions: Vec::new(),
                sent_at_ms: None,
            });
            let Err(error) = engine.submit(command, completion) else { break };
            assert_eq!((error.code, error.limit.as_deref()), (Code::Busy, Some("queue_bytes_max")), "{error}");
            watched.change(|ledger| {
                ledger.outstanding -= BODY_BYTES;
                ledger.busy += 1;
                ledger.blocked += 1;
            });
            watched.wait("an answer", |ledger| ledger.answered > answered, |_| ());
            watched.change(|ledger| ledger.blocked -= 1);
        }
    }
    watched.change(|ledger| ledger.finished += 1);
}

fn begin(engine: &Engine) -> Vec<SendSession> {
    let users: Vec<Arc<str>> = (0..SENDERS).map(|user| format!("user-{user}").into()).collect();
    let create = Create {
        caller: Caller::Service,
        kind: Kind::Group,
        conversation: Some("g".into()),
        owner: None,
        members: users.clone(),
        open: false,
        history: false,
    };
    engine.execute(Command::Create(create)).unwrap();
    let open = |user: Arc<str>| {
        let open = OpenSession { user, device: "d".into(), by_service: false, on_replaced: Box::new(|| {}) };
        match engine.execute(Command::OpenSession(open)).unwrap() {
            Outcome::Session(session) => session,
            other => panic!("{other:?}"),
        }
    };
    users.into_iter().map(open).collect()
}

#[test]
fn a_slow_disk_slows_senders_down_and_fills_no_memory() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let options = Options {
        limits: Limits { queue_bytes_max: QUEUE_BYTES_MAX, ..Limits::default() },
        create_named_users: true,
        disk: Some(GatedDisk::new(&directory.path().join("log"), &gate)),
        // What was answered is kept for readers within a bound of its own, which is not what is looked at here.
        tail_bytes_max: 1 << 20,
        ..Options::default()
    };
    let engine = Engine::open(directory.path(), options).unwrap();
    let _end = OpenAtEnd(Arc::clone(&gate));
    let sessions = begin(&engine);
    let watched = Arc::new(Watched::default());
    let before_bytes = resident_bytes();
    gate.shut();
    let first_sync = gate.passed();
    let senders: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let (engine, watched) = (engine.clone(), Arc::clone(&watched));
            std::thread::spawn(move || send_all(&engine, session, &watched))
        })
        .collect();

    // Nothing returns from the disk: the queue fills up to its limit, and everybody waits.
    let all_stand = |ledger: &Ledger| ledger.blocked + ledger.finished == SENDERS;
    watched.wait("the queue's limit", all_stand, |ledger| {
        assert_eq!((ledger.finished, ledger.answered), (0, 0), "nothing is durable, and not everything fits");
        assert!(ledger.outstanding <= QUEUE_BYTES_MAX, "{} bytes wait", ledger.outstanding);
        assert!(ledger.outstanding > QUEUE_BYTES_MAX * 9 / 10, "only {} bytes fit", ledger.outstanding);
    });
    let full_bytes = resident_bytes().saturating_sub(before_bytes);
    let mut most_bytes = full_bytes;
    let mut answered = 0;
    let mut busy_while_slow = 0;
    // Sync by sync: what is acknowledged follows the disk, and what is freed is taken up.
    for syncs in 1..=SYNCS {
        gate.allow_one();
        gate.wait_held(first_sync + syncs);
        (answered, busy_while_slow) = watched.wait(
            "what was synced",
            |ledger| ledger.answered > answered,
            |ledger| {
                // Counted before the queue has taken it, and room is given back before it is answered.
                let most = QUEUE_BYTES_MAX + (1 << 20) + (SENDERS + 1) * BODY_BYTES;
                assert!(ledger.outstanding <= most, "{} bytes wait", ledger.outstanding);
                assert!(ledger.answered <= syncs * PER_SYNC_MAX, "{} answers, {syncs} syncs", ledger.answered);
                (ledger.answered, ledger.busy)
            },
        );
        most_bytes = most_bytes.max(resident_bytes().saturating_sub(before_bytes));
    }
    println!(
        "queue {QUEUE_BYTES_MAX} bytes; {SYNCS} syncs, {answered} answers, {busy_while_slow} times busy; resident memory \
         above the beginning: {full_bytes} bytes with a full queue, {most_bytes} at most"
    );
    assert!(answered >= SYNCS * PER_SYNC_MAX / 2, "each sync takes a group that has filled: {answered}");
    assert!(most_bytes <= RESIDENT_BYTES_MAX, "{most_bytes} bytes are resident, above {RESIDENT_BYTES_MAX}");
    assert!(busy_while_slow > SENDERS as u64, "senders are told again and again: {busy_while_slow}");

    gate.open();
    watched.wait("the end", |ledger| ledger.answered == SENDERS as u64 * PER_SENDER, |_| ());
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let end_bytes = resident_bytes().saturating_sub(before_bytes);
    assert!(end_bytes <= RESIDENT_BYTES_MAX, "{end_bytes} bytes are resident at the end");
    assert_complete(&engine);
    engine.close().unwrap();
}

/// Every message is there exactly once, each sender's in order.
fn assert_complete(engine: &Engine) {
    let mut next = [1u64; SENDERS];
    let mut page = engine.sync("user-0", Start::Beginning, SyncLimits::default()).unwrap();
    loop {
        for entry in &page.records {
            let What::Message { body: Body::Original(body), .. } = &entry.what else { continue };
            let from = entry.from.strip_prefix("user-").unwrap();
            let next = &mut next[from.parse::<usize>().unwrap()];
            assert_eq!(body[..8], next.to_le_bytes(), "from {from}");
            *next += 1;
        }
        if page.caught_up {
            break;
        }
        page = engine.sync_next("user-0", page.next, SyncLimits::default()).unwrap();
    }
    assert_eq!(next, [PER_SENDER + 1; SENDERS]);
}
