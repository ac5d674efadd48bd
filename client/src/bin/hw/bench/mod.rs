//! `hw bench`: loads a running server as a workload file says, measures it, and checks what arrives.
//!
//! - [`workload`] reads the file ([`fields`]), [`plan`] makes its choices; [`mod@run`] is what all tasks share;
//! - [`sender`] sends, by a closed loop or by the clock of an open one ([`pace`]); [`reader`] reads and checks
//!   ([`order`]);
//! - [`meter`] counts and measures, [`live`] tells how it goes, [`report`] is the result.

mod fields;
mod live;
mod meter;
mod order;
mod pace;
mod plan;
mod reader;
mod report;
mod run;
mod sender;
mod workload;

use crate::args::{self, Global};
use crate::crowd::progress::Progress;
use crate::crowd::{Connector, SILENCE_MAX, groups, write_report};
use crate::failure::Failure;
use crate::output::Output;
use crate::random::Random;
use highwater_client::Session;
use highwater_proto::error::{Code, Error};
use live::Live;
use order::Violations;
use plan::{Plan, user_name};
use reader::{Targets, Until, Wires};
use report::Report;
use run::Run;
use sender::{Pace, Sender, Sent};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};
use workload::Workload;

/// Sessions that are opened at a time, at first.
const CONNECTING_MAX: usize = 64;
/// Lines that a step before or after the sends is worth, where there is no bar.
const STEP_LINES: u64 = 4;
/// How often it is told how the run goes.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the workload, and prints the report.
pub(crate) async fn run(global: &Global, options: &args::Bench, output: &mut Output) -> Result<(), Failure> {
    let workload = Workload::read(&options.workload)?;
    let connector = Connector::new(global)?;
    if !connector.is_service() {
        return Err(Failure::usage(
            "a benchmark makes users and groups: --dev DIR, the data directory of a server with --dev, or a service's token",
        ));
    }
    if !connector.mints_tokens() && workload.devices_online > 0 {
        return Err(Failure::usage(
            "a service's token reads for nobody: devices_online must be 0 with it; --dev DIR has tokens for all users",
        ));
    }
    let run = Arc::new(Run::new(Plan::new(workload), connector));
    prepare(&run).await?;
    let mut readers = Readers::connect(&run).await?;
    let senders = connect_senders(&run).await?;
    let (sent, mut failure) = load(&run, senders, &mut readers).await?;
    let found = readers.finish(&run, targets(&run, &sent)).await?;

    let report = Report::new(&run, &found);
    output.line(|| report.to_json(), || report.to_string())?;
    output.flush()?;
    if let Some(path) = &options.report {
        write_report(path, &report.to_json())?;
    }
    if !report.is_good() {
        let said = match found.total() {
            0 => "nothing was acknowledged".to_owned(),
            count => format!("{count} violations, such as: {}", found.described.join("; ")),
        };
        failure = failure.or_else(|| Some(Failure::mismatch(said)));
    }
    failure.map_or(Ok(()), Err)
}

/// Makes users and groups, and compares the workload with the server's limits.
async fn prepare(run: &Arc<Run>) -> Result<(), Failure> {
    let service = run.connector.service().connect().await?;
    check(&run.plan.workload, &service.connected().await?)?;
    let progress = |what, count: usize| Progress::new(run.connector.progress, what, count as u64).lines(STEP_LINES);
    if !run.connector.mints_tokens() {
        let mark = run.plan.mark().to_owned();
        let name = move |user: usize| user_name(&mark, user as u32);
        let users = run.plan.workload.users;
        groups::make_users(&service, users, name, progress("users", users)).await?;
    }
    let described = Arc::clone(run);
    let groups = run.plan.group_count();
    let describe = move |number| described.plan.group(number);
    groups::make(&service, groups, describe, progress("conversations", groups)).await?;
    service.close().await;
    Ok(())
}

fn check(workload: &Workload, server: &Session) -> Result<(), Failure> {
    let longest = workload.body_bytes_max();
    if longest as u64 > server.body_bytes_max {
        let limit = server.body_bytes_max;
        return Err(Failure::usage(format!("body_bytes is {longest}; the server's limit body_bytes_max is {limit}")));
    }
    Ok(())
}

async fn connect_senders(run: &Arc<Run>) -> Result<Vec<Sender>, Failure> {
    let count = run.plan.senders.len();
    let mut progress = Progress::new(run.connector.progress, "senders", count as u64).lines(STEP_LINES);
    let mut connecting = JoinSet::new();
    let mut senders = Vec::with_capacity(count);
    for number in 0..count {
        if connecting.len() >= CONNECTING_MAX {
            senders.push(joined(timeout(SILENCE_MAX, connecting.join_next()).await)?);
            progress.advance();
        }
        connecting.spawn(Sender::connect(Arc::clone(run), number));
    }
    while senders.len() < count {
        senders.push(joined(timeout(SILENCE_MAX, connecting.join_next()).await)?);
        progress.advance();
    }
    Ok(senders)
}

type Joined<T> = Option<Result<Result<T, Failure>, tokio::task::JoinError>>;

/// What a task came to that had to end in time.
fn joined<T>(waited: Result<Joined<T>, tokio::time::error::Elapsed>) -> Result<T, Failure> {
    match waited {
        Ok(Some(Ok(result))) => result,
        Ok(Some(Err(error))) => Err(Failure::io(format!("a task stopped: {error}"))),
        Ok(None) | Err(_) => Err(silent()),
    }
}

fn silent() -> Failure {
    Error::new(Code::Unreachable, format!("nothing came from the server for {} s", SILENCE_MAX.as_secs())).into()
}

/// Sends until the workload is done, somebody stops it, or nothing moves any more. What was sent; and why it was given
/// up, if it was.
async fn load(
    run: &Arc<Run>,
    senders: Vec<Sender>,
    readers: &mut Readers,
) -> Result<(Vec<Sent>, Option<Failure>), Failure> {
    let mut live = Live::new(run.connector.progress, &run.meter);
    let mut sending = JoinSet::new();
    run.begin();
    let mut paces: Vec<Pace> = match run.plan.workload.rate_per_second {
        None => senders.iter().map(|_| Pace::Closed).collect(),
        Some(rate) => {
            let times = pace::start(run, rate).map_err(|error| Failure::io(format!("no thread: {error}")))?;
            times.into_iter().map(Pace::Open).collect()
        }
    };
    for sender in senders {
        sending.spawn(sender.play(paces.pop().unwrap_or(Pace::Closed)));
    }
    let mut sent = Vec::with_capacity(sending.len());
    let mut tell = interval_at(Instant::now() + TELL_INTERVAL, TELL_INTERVAL);
    let mut storms = Storms::new(run);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut is_interrupted = false;
    while !sending.is_empty() {
        tokio::select! {
            ended = sending.join_next() => match ended {
                Some(Ok(ended)) => sent.push(ended?),
                Some(Err(error)) => return Err(Failure::io(format!("a sender stopped: {error}"))),
                None => break,
            },
            ended = readers.tasks.join_next(), if !readers.tasks.is_empty() => {
                // None ends before it is told to, except by an error.
                joined(Ok(ended)).map(drop)?;
            }
            _ = tell.tick() => {
                live.tell(&run.meter);
                if live.silence() > SILENCE_MAX && run.meter.unanswered() > 0 {
                    run.stop();
                    return Ok((sent, Some(silent())));
                }
            }
            () = storms.next() => storms.strike(readers, run.is_over()),
            _ = &mut interrupted, if !is_interrupted => {
                is_interrupted = true;
                run.stop();
            }
        }
    }
    run.stop();
    Ok((sent, None))
}

/// When readers go away and come back, and which.
struct Storms {
    share: f64,
    times: Option<tokio::time::Interval>,
    random: Random,
}

impl Storms {
    fn new(run: &Run) -> Self {
        let reconnect = run.plan.workload.reconnect;
        let times = reconnect.map(|reconnect| {
            let every = Duration::from_secs_f64(reconnect.every_seconds);
            interval_at(Instant::now() + every, every)
        });
        let share = reconnect.map_or(0.0, |reconnect| reconnect.share);
        Self { share, times, random: Random::new(run.plan.workload.seed) }
    }

    /// Waits for the next one; without any, for ever.
    async fn next(&mut self) {
        match &mut self.times {
            Some(times) => drop(times.tick().await),
            None => std::future::pending().await,
        }
    }

    fn strike(&mut self, readers: &Readers, is_over: bool) {
        let count = (readers.storms.len() as f64 * self.share).round() as usize;
        if is_over {
            return;
        }
        for number in self.random.choose((0..readers.storms.len()).collect(), count) {
            // One that is still coming back from the last one is left alone.
            let _ = readers.storms[number].try_send(());
        }
    }
}

/// The devices that are online.
struct Readers {
    tasks: JoinSet<Result<Violations, Failure>>,
    storms: Vec<mpsc::Sender<()>>,
    until: watch::Sender<Until>,
}

impl Readers {
    /// Connects them all, and waits until each has caught up.
    async fn connect(run: &Arc<Run>) -> Result<Self, Failure> {
        let count = run.plan.readers.len();
        let mut progress = Progress::new(run.connector.progress, "readers", count as u64).lines(STEP_LINES);
        let mut readers =
            Self { tasks: JoinSet::new(), storms: Vec::with_capacity(count), until: watch::Sender::new(Until::Told) };
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        let (ready, mut begun) = mpsc::unbounded_channel();
        for number in 0..count {
            let (storm, storms) = mpsc::channel(1);
            readers.storms.push(storm);
            let wires = Wires {
                ready: ready.clone(),
                connecting: Arc::clone(&connecting),
                storm: storms,
                until: readers.until.subscribe(),
            };
            readers.tasks.spawn(reader::read(Arc::clone(run), number, wires));
        }
        for _ in 0..count {
            tokio::select! {
                begun = timeout(SILENCE_MAX, begun.recv()) => {
                    begun.ok().flatten().ok_or_else(silent)?;
                    progress.advance();
                }
                ended = readers.tasks.join_next() => return Err(joined(Ok(ended)).err().unwrap_or_else(silent)),
            }
        }
        Ok(readers)
    }

    /// Waits until everything has come that was acknowledged, or nothing comes any more. What was found.
    async fn finish(mut self, run: &Run, targets: Targets) -> Result<Violations, Failure> {
        let mut progress = Progress::new(run.connector.progress, "complete", self.tasks.len() as u64).lines(STEP_LINES);
        let targets = Arc::new(targets);
        self.until.send_replace(Until::Complete(Arc::clone(&targets)));
        let mut live = Live::new(crate::crowd::progress::Style::Silent, &run.meter);
        let mut look = interval_at(Instant::now() + TELL_INTERVAL, TELL_INTERVAL);
        let mut found = Violations::default();
        while !self.tasks.is_empty() {
            tokio::select! {
                ended = self.tasks.join_next() => {
                    found.merge(joined(Ok(ended))?);
                    progress.advance();
                }
                _ = look.tick() => {
                    live.tell(&run.meter);
                    if live.silence() > SILENCE_MAX {
                        self.until.send_replace(Until::Now(Arc::clone(&targets)));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Of each user who reads, the conversations and the highest number that was acknowledged there.
fn targets(run: &Run, sent: &[Sent]) -> Targets {
    let mut highest: HashMap<&str, u64> = HashMap::new();
    for (conversation, seq) in sent.iter().flat_map(|sent| &sent.highest) {
        let entry = highest.entry(conversation).or_default();
        *entry = (*entry).max(*seq);
    }
    let mut targets: Targets = run.plan.readers.iter().map(|user| (*user, Vec::new())).collect();
    let mut expect = |user: u32, conversation: &str| {
        if let (Some(own), Some(seq)) = (targets.get_mut(&user), highest.get(conversation)) {
            own.push((conversation.to_owned(), *seq));
        }
    };
    for group in 0..run.plan.group_count() as u32 {
        let name = run.plan.group(group as usize).id;
        run.plan.members(group).iter().for_each(|user| expect(*user, &name));
    }
    for sent in sent {
        for (user, conversation) in &sent.direct {
            expect(*user, conversation);
            expect(sent.user, conversation);
        }
    }
    targets
}
