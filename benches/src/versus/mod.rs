//! The same job done by Redis Streams, PostgreSQL, NATS JetStream and Highwater, over the network.
//!
//! *The job* (`job`): durable sends of 200-byte messages into conversations of N members, by 16 connections with 64
//! messages in flight each; then 1,000 members catch up with about 200 messages each. Nothing is pushed meanwhile. Who
//! sends and who reads is the same for everybody, and so are the phases (`measure`).
//!
//! *Layouts.* Each rival does it twice: *copying*, with an entry for every member, so that a member has one position;
//! and as a *log* for each conversation, in which every member has a position: what one would choose for large groups,
//! and what makes catching up a question to each conversation. Highwater chooses by itself, and its devices have one
//! position in any case.
//!
//! *Equal durability.* Highwater's `power` against `appendfsync always`, `synchronous_commit = on`, `sync_interval:
//! always`; its `crash`, synced ten times a second, against `everysec`, `off` and JetStream's default of two minutes.
//!
//! *What favours the rivals.* They are spoken to over plain TCP, Highwater over QUIC, which always encrypts. Their
//! readers share 16 connections, as behind a gateway; Highwater's are 1,000 devices with a session each, since it is
//! the gateway. Their members are known by heart: nobody checks who may write or read, nothing is counted as unread, a
//! message sent twice is stored twice, and positions are not told to the server. A conversation has one writer, which
//! spares them locks. Server and clients share the machine, so a client's cost counts, for everybody.
//!
//! How each rival was tuned stands in its module; the report shows its version and configuration.

mod highwater;
mod job;
mod measure;
mod nats;
mod postgres;
mod redis;
mod server;
mod tables;

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::pair::{self, interleave};
use crate::report::Report;
use job::Job;
use measure::{Durability, Layout, Measured, Setup, measure};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tables::Block;
use tokio::runtime::Runtime;

/// Threads of the clients' runtime.
const WORKERS: usize = 2;

/// A contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Highwater,
    Redis,
    Postgres,
    Nats,
}

impl Who {
    const ALL: [Self; 4] = [Who::Highwater, Who::Redis, Who::Postgres, Who::Nats];

    const fn name(self) -> &'static str {
        match self {
            Who::Highwater => "highwater",
            Who::Redis => "redis",
            Who::Postgres => "postgres",
            Who::Nats => "nats",
        }
    }

    fn program(self) -> Option<PathBuf> {
        match self {
            Who::Highwater => highwater::program(),
            Who::Redis => redis::program(),
            Who::Postgres => postgres::program(),
            Who::Nats => nats::program(),
        }
    }

    /// Why it cannot be measured like this although it is there.
    fn hindrance(self, program: &Path, durability: Durability, layout: Option<Layout>) -> Option<String> {
        match (self, durability, layout) {
            (Who::Nats, Durability::Power, _) | (Who::Nats, _, Some(Layout::Log)) => nats::hindrance(program),
            _ => None,
        }
    }

    fn configuration(self, durability: Durability) -> String {
        match self {
            Who::Highwater => format!("--durability {}", durability.name()),
            Who::Redis => redis::configuration(durability),
            Who::Postgres => postgres::configuration(durability),
            Who::Nats => nats::configuration(durability).to_owned(),
        }
    }
}

impl Durability {
    const ALL: [Self; 2] = [Durability::Power, Durability::Crash];

    const fn name(self) -> &'static str {
        match self {
            Durability::Power => "power",
            Durability::Crash => "crash",
        }
    }
}

/// What takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    who: Who,
    /// `None`: its own choice.
    layout: Option<Layout>,
    durability: Durability,
}

impl Variant {
    fn name(self) -> String {
        let layout = match self.layout {
            Some(Layout::Copying) => " copying",
            Some(Layout::Log) => " log",
            None => "",
        };
        format!("{}{layout}, {}", self.who.name(), self.durability.name())
    }
}

/// Runs the program.
///
/// # Errors
/// Highwater could not be measured. A rival that could not be is told of in the report.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let began = Instant::now();
    let mut report = Report::new("versus", Machine::here(&context.out));
    let variants = choose(&mut report)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let sizes: &[usize] = context.pick(&[2, 20, 200, 1_000], &[2, 200]);
    let rounds = context.pick(3, 1);
    let sending = Duration::from_millis(context.pick(1_500, 500));
    let complaints = RefCell::new(Vec::new());
    let mut blocks = Vec::new();
    for (place, members) in sizes.iter().enumerate() {
        let job = Arc::new(Job::new(*members, context.seed));
        let measurements = variants.iter().map(|variant| {
            let (job, runtime, complaints) = (&job, &runtime, &complaints);
            pair::Variant::new(variant.name(), move |round| {
                eprintln!("versus: {members} members, round {}: {}", round + 1, variant.name());
                match measure_one(context, runtime, job, *variant, sending) {
                    Err(failure) if variant.who != Who::Highwater => {
                        let why = causes(&*failure);
                        complaints.borrow_mut().push(format!("{members} members, {}: {why}", variant.name()));
                        Ok(Measured::NOTHING)
                    }
                    measured => measured,
                }
            })
        });
        let until = began + context.budget.mul_f64((place + 1) as f64 / sizes.len() as f64);
        let rounds = interleave(rounds, until, &mut measurements.collect::<Vec<_>>())?;
        blocks.push(Block { members: *members, rounds });
    }
    tables::fill(&mut report, &blocks, &variants);
    for complaint in complaints.into_inner() {
        report.note(format!("not measured: {complaint}"));
    }
    report.note("the rivals are spoken to over plain TCP, Highwater over QUIC, which always encrypts");
    report.note("the rivals' 1,000 readers share 16 connections, Highwater's have one each");
    Ok(report)
}

/// Who takes part, as the report tells.
fn choose(report: &mut Report) -> Result<Vec<Variant>, Failure> {
    let mut variants = Vec::new();
    for durability in Durability::ALL {
        for who in Who::ALL {
            let name = who.name();
            let Some(program) = who.program() else {
                if who == Who::Highwater {
                    return Err("highwater is missing: cargo build --release --workspace --bins".into());
                }
                report.note(format!("not measured: {name}, which is not installed (`./x bench versus` says how)"));
                continue;
            };
            let configuration = who.configuration(durability).trim().replace('\n', "; ");
            let version = server::version(&program);
            report.note(format!("{name}, {}: {version}; configuration: `{configuration}`", durability.name()));
            let layouts: &[Option<Layout>] = match who {
                Who::Highwater => &[None],
                _ => &[Some(Layout::Copying), Some(Layout::Log)],
            };
            for layout in layouts.iter().copied() {
                let variant = Variant { who, layout, durability };
                match who.hindrance(&program, durability, layout) {
                    Some(hindrance) => report.note(format!("not measured: {}: {hindrance}", variant.name())),
                    None => variants.push(variant),
                }
            }
        }
    }
    Ok(variants)
}

fn measure_one(
    context: &Context,
    runtime: &Runtime,
    job: &Arc<Job>,
    variant: Variant,
    sending: Duration,
) -> Result<Measured, Failure> {
    let scratch = context.scratch()?;
    let setup = Setup {
        job: Arc::clone(job),
        durability: variant.durability,
        // Highwater is asked to send a message once, whatever it makes of it.
        layout: variant.layout.unwrap_or(Layout::Log),
        data: scratch.path().to_owned(),
    };
    // How reading goes does not depend on how writing was synced.
    let reading = variant.durability == Durability::Crash;
    runtime.block_on(async {
        match variant.who {
            Who::Highwater => measure::<highwater::Highwater>(&setup, sending, reading).await,
            Who::Redis => measure::<redis::Redis>(&setup, sending, reading).await,
            Who::Postgres => measure::<postgres::Postgres>(&setup, sending, reading).await,
            Who::Nats => measure::<nats::Nats>(&setup, sending, reading).await,
        }
    })
}

/// An error with everything that it was caused by: some say only what kind they are.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// What the program starts as a process of its own: `highwater-bench child versus WHO LAYOUT DURABILITY MEMBERS SECONDS`
/// measures one variant once, to look into it.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    let [who, layout, durability, members, seconds] = arguments else {
        return Err(format!("nothing is called {arguments:?}").into());
    };
    let who = Who::ALL.into_iter().find(|known| known.name() == who).ok_or("nobody is called that")?;
    let durability = Durability::ALL.into_iter().find(|known| known.name() == durability);
    let layout = match layout.as_str() {
        "log" => Layout::Log,
        _ => Layout::Copying,
    };
    let layout = (who != Who::Highwater).then_some(layout);
    let variant = Variant { who, layout, durability: durability.ok_or("power or crash?")? };
    let out = crate::context::default_out();
    let context = Context { quick: false, out, budget: Duration::ZERO, seed: 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let job = Arc::new(Job::new(members.parse()?, context.seed));
    let sending = Duration::from_secs_f64(seconds.parse()?);
    let measured = measure_one(&context, &runtime, &job, variant, sending).map_err(|failure| causes(&*failure))?;
    println!("{members} members, {}: {measured:.2?}", variant.name());
    Ok(())
}
