//! Who waits for whom: sends while a persist runs, and direct messages while a large group receives a burst.

use crate::context::{Context, Failure};
use crate::load::{Scene, Strategy, Target, bodies};
use crate::report::{Bound, Report, Table, number};
use crate::stats::{Latencies, Sample};
use crate::store::{Bench, Done, drive, message, name, send, submit};
use crate::workload::Density;
use bytes::Bytes;
use highwater_engine::command::Destination;
use highwater_engine::options::Durability;
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Options, SendSession};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(super) fn run(context: &Context, report: &mut Report) -> Result<(), Failure> {
    persists(context, report)?;
    bursts(context, report)
}

/// Acknowledgements while a persist runs against those outside, realistic density, 64 in flight.
fn persists(context: &Context, report: &mut Report) -> Result<(), Failure> {
    let bodies = bodies(super::BODY_BYTES, context.seed);
    let users = context.pick(Density::Realistic.users(), 1 << 14);
    let scene = Scene::direct(users, context.seed);
    let mut target = Target::open(context, Strategy::Write(Durability::Power), &scene, &bodies)?;
    let engine = target.bench().ok_or("the target is an engine")?.engine.clone();
    let split = Arc::new(Split::default());
    let cycles = context.pick(4, 2);
    let mut persist_ms = Vec::new();
    for _ in 0..cycles {
        // As many messages as an hour brings.
        let until = Instant::now() + context.budget / 40;
        drive(1_024, 2 * users as u64, until, |_, done| target.send(done))?;
        let until = Instant::now() + context.budget / 60;
        drive_split(&mut target, &split, until)?;
        let (engine, persisting) = (engine.clone(), split.clone());
        let persist = std::thread::spawn(move || {
            let began = Instant::now();
            persisting.is_persisting.store(true, Ordering::SeqCst);
            let done = engine.persist();
            persisting.is_persisting.store(false, Ordering::SeqCst);
            done.map(|()| began.elapsed())
        });
        while !persist.is_finished() {
            drive_split(&mut target, &split, Instant::now() + Duration::from_millis(20))?;
        }
        let took = persist.join().map_err(|_| "the persisting thread panicked")??;
        persist_ms.push(took.as_secs_f64() * 1e3);
        drive_split(&mut target, &split, until.max(Instant::now()) + took)?;
    }
    let (during, outside) = (split.during.lock(), split.outside.lock());
    let mut table = Table::new(
        format!(
            "acknowledgements, 64 in flight, {users} users, with a persist of {} ms",
            Sample::new(persist_ms).median().round()
        ),
        &["when", "n", "p50 µs", "p99 µs", "p999 µs", "max µs"],
    );
    for (when, latencies) in [("outside", &*outside), ("during", &*during)] {
        table.row([
            when.into(),
            latencies.count().into(),
            latencies.p50_us().into(),
            latencies.p99_us().into(),
            latencies.p999_us().into(),
            latencies.max_us().into(),
        ]);
    }
    report.table(table);
    let ratio = during.p999_us() / outside.p999_us();
    report.check("commit stalls: p999 of acks during a persist against outside", ratio, Bound::AtMost(2.0));
    Ok(())
}

/// Latencies by whether a persist ran at any time between submission and answer.
#[derive(Default)]
struct Split {
    is_persisting: AtomicBool,
    during: Mutex<Latencies>,
    outside: Mutex<Latencies>,
}

fn drive_split(target: &mut Target, split: &Arc<Split>, until: Instant) -> Result<(), Failure> {
    drive(64, u64::MAX, until, |_, done| {
        let (split, began) = (split.clone(), Instant::now());
        let was_persisting = split.is_persisting.load(Ordering::Relaxed);
        let done: Done = Box::new(move |is_ok| {
            let is_during = was_persisting || split.is_persisting.load(Ordering::Relaxed);
            let side = if is_during { &split.during } else { &split.outside };
            side.lock().record(began.elapsed());
            done(is_ok);
        });
        target.send(done)
    })?;
    Ok(())
}

const GROUP: usize = 1_000;
const BURST: u64 = 1_000;
/// A direct message is sent every so often, whether or not the ones before were answered: who waits for an answer before
/// the next send would not notice how many others would have waited, too.
const EVERY: Duration = Duration::from_micros(500);

/// Direct sends at a steady pace, idle and while a group of 1,000 receives 1,000 messages.
fn bursts(context: &Context, report: &mut Report) -> Result<(), Failure> {
    let bench = Bench::open(context.scratch()?, Options::default(), GROUP)?;
    bench.group(Kind::Group, "crowd", &(0..GROUP).collect::<Vec<_>>())?;
    // By itself it would be fanned out on read, which delays nobody.
    bench.pin("crowd", Fanout::Write)?;
    let sessions = bench.sessions([0, 1])?;
    bench.engine.execute(message(sessions[1], 1, 2))?;
    let mut steady = Steady { bench: &bench, session: sessions[1], client_seq: 1, waiting: Arc::default() };
    let body = Bytes::from(vec![b'x'; super::BODY_BYTES]);
    let crowd: Arc<str> = "crowd".into();
    let (idle, busy) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let mut crowd_seq = 0;
    let mut burst_ms = Vec::new();
    let until = Instant::now() + context.budget / 12;
    for _ in 0..context.pick(60, 10) {
        let idle_until = Instant::now() + Duration::from_millis(60);
        steady.send_while(&idle, || Instant::now() < idle_until)?;
        let left = Arc::new(AtomicUsize::new(BURST as usize));
        let began = Instant::now();
        for _ in 0..BURST {
            crowd_seq += 1;
            let left = left.clone();
            let done: Done = Box::new(move |_| {
                left.fetch_sub(1, Ordering::SeqCst);
            });
            let to = Destination::Conversation(crowd.clone());
            submit(&bench.engine, send(sessions[0], crowd_seq, to, body.clone()), done)?;
        }
        steady.send_while(&busy, || left.load(Ordering::SeqCst) > 0)?;
        burst_ms.push(began.elapsed().as_secs_f64() * 1e3);
        if Instant::now() > until {
            break;
        }
    }
    let (idle, busy) = (idle.lock(), busy.lock());
    let burst_ms = number(Sample::new(burst_ms).median());
    let mut table = Table::new(
        format!("a direct send's answer while {GROUP} members receive {BURST} messages at once (in {burst_ms} ms)"),
        &["when", "n", "p50 µs", "p99 µs", "max µs"],
    );
    for (when, latencies) in [("idle", &*idle), ("burst", &*busy)] {
        table.row([
            when.into(),
            latencies.count().into(),
            latencies.p50_us().into(),
            latencies.p99_us().into(),
            latencies.max_us().into(),
        ]);
    }
    report.table(table);
    let above_ms = (busy.p99_us() - idle.p99_us()) / 1e3;
    let what = "a direct send's ack p99 during a burst of another conversation, above idle, ms";
    report.check(what, above_ms, Bound::AtMost(5.0));
    Ok(())
}

/// One device that sends at a steady pace.
struct Steady<'a> {
    bench: &'a Bench,
    session: SendSession,
    client_seq: u64,
    waiting: Arc<AtomicUsize>,
}

impl Steady<'_> {
    /// Sends while that holds, and waits for all answers, whose latencies are recorded.
    fn send_while(&mut self, latencies: &Arc<Mutex<Latencies>>, holds: impl Fn() -> bool) -> Result<(), Failure> {
        let body = Bytes::from(vec![b'x'; super::BODY_BYTES]);
        let mut due = Instant::now();
        while holds() {
            self.client_seq += 1;
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let (waiting, latencies) = (self.waiting.clone(), latencies.clone());
            let done: Done = Box::new(move |_| {
                latencies.lock().record(due.elapsed());
                waiting.fetch_sub(1, Ordering::SeqCst);
            });
            let command = send(self.session, self.client_seq, Destination::User(name(2)), body.clone());
            submit(&self.bench.engine, command, done)?;
            due += EVERY;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        while self.waiting.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(EVERY);
        }
        Ok(())
    }
}
