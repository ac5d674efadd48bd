//! `hw bench`: loads a running server as a workload file says, measures it, and checks what arrives.
//!
//! - [`workload`] reads the file ([`fields`]), [`plan`] makes its choices; [`mod@run`] is what all tasks share;
//! - [`sender`] sends, by a closed loop or by the clock of an open one ([`pace`]); [`reader`] reads and checks
//!   ([`order`]), and [`online`] holds all readers;
//! - [`ending`] says when readers end, and whether the run succeeded;
//! - [`meter`] counts and measures, [`live`] tells how it goes, [`report`] is the result.

mod ending;
mod fields;
mod live;
mod meter;
mod online;
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
use ending::{GivenUp, silent, verdict};
use highwater_client::Session;
use live::Live;
use online::{Readers, Storms};
use plan::{Plan, user_name};
use report::Report;
use run::Run;
use sender::{Pace, Sender, Sent};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
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
    let mut interrupts = interrupts();
    let (sent, given_up) = load(&run, senders, &mut readers, &mut interrupts).await?;
    let targets = online::targets(&run.plan, &sent);
    let (found, given_up) = readers.finish(&run, targets, given_up, &mut interrupts).await?;

    let report = Report::new(&run, &found);
    output.line(|| report.to_json(), || report.to_string())?;
    output.flush()?;
    if let Some(path) = &options.report {
        write_report(path, &report.to_json())?;
    }
    verdict(&report, &found.violations.described, given_up)
}

/// Tells of every Ctrl-C from now on. Several that nobody has looked at yet are one.
fn interrupts() -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && !tell.is_closed() {
            let _ = tell.try_send(());
        }
    });
    told
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

/// Sends until the workload is done, somebody stops it, or nothing moves any more. What was sent; and why the answers were
/// given up, if they were: a first Ctrl-C ends the sends, a second one the waiting for their answers.
async fn load(
    run: &Arc<Run>,
    senders: Vec<Sender>,
    readers: &mut Readers,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<(Vec<Sent>, Option<GivenUp>), Failure> {
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
                    return Ok((sent, Some(GivenUp::Silence)));
                }
            }
            () = storms.next() => storms.strike(readers, run.is_over()),
            Some(()) = interrupts.recv() => {
                run.stop();
                if std::mem::replace(&mut is_interrupted, true) {
                    return Ok((sent, Some(GivenUp::Interrupt)));
                }
            }
        }
    }
    run.stop();
    Ok((sent, None))
}
