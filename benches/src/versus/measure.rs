//! What is measured of a contestant: the same phases for everybody.
//!
//! 1. A server on an empty store; each conversation gets one message, so that everything that is made once is made.
//! 2. All senders send for a while: sends/s at saturation, the server's CPU, bytes written. Who took more than twice as
//!    long for the first step is measured by that one, so that the slowest do not take all the time there is.
//! 3. Every reader's position is moved to the end, as if the member had been online so far; then each misses about 200
//!    messages, and all catch up at once: records/s.
//! 4. The server is stopped, and what its store takes on the disk is looked up.
//!
//! What was sent is verified twice: the store must hold as many entries as were acknowledged, and every reader must get
//! what it missed, each message once, in order, numbered on from all that was sent before.

use super::job::{Job, READERS, SENDERS, Seen, Source, Until};
use super::server::{Server, Used};
use crate::context::Failure;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What an acknowledged message survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A power cut.
    Power,
    /// The end of the process; a power cut costs the last moments.
    Crash,
}

/// Where a message's entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One for every member.
    Copying,
    /// One in the conversation's log, in which every member has a cursor.
    Log,
}

impl Layout {
    /// Entries of a message.
    pub(crate) fn copies(self, job: &Job) -> usize {
        match self {
            Layout::Copying => job.members,
            Layout::Log => 1,
        }
    }
}

/// With what a contestant is started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) job: Arc<Job>,
    pub(crate) durability: Durability,
    pub(crate) layout: Layout,
    /// Empty.
    pub(crate) data: PathBuf,
}

/// A reader, and the numbers of the members that it reads for.
pub(super) type Owned<R> = (R, Vec<usize>);

/// A store with its server, as an application would use it.
pub(crate) trait Contestant: Sized {
    /// A connection that sends.
    type Sender: Send + 'static;
    /// Some of the readers, with their positions, on a connection.
    type Reader: Send + 'static;

    /// Starts the server and makes everybody known.
    fn start(setup: &Setup) -> impl Future<Output = Result<Self, Failure>>;
    /// A sender each.
    fn senders(&self) -> impl Future<Output = Result<Vec<Self::Sender>, Failure>>;
    /// Sends all that the source gives, and waits until it is acknowledged.
    fn send(sender: &mut Self::Sender, source: &mut Source) -> impl Future<Output = Result<(), Failure>> + Send;
    /// All readers, positioned at the present end, each with the indices of those it stands for.
    fn readers(&self) -> impl Future<Output = Result<Vec<Owned<Self::Reader>>, Failure>>;
    /// Reads what there is beyond the positions.
    fn catch_up(reader: &mut Self::Reader, seen: &mut [Seen]) -> impl Future<Output = Result<(), Failure>> + Send;
    /// How many entries the store holds for messages; `None` if the readers find out by themselves.
    fn entries(&self) -> impl Future<Output = Result<Option<u64>, Failure>>;
    /// The server.
    fn server(&self) -> &Server;
    /// Stops the server, and says how many bytes its store takes.
    fn stop(self) -> impl Future<Output = Result<u64, Failure>>;
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) sends_per_s: f64,
    pub(crate) server_us_per_send: f64,
    pub(crate) client_us_per_send: f64,
    pub(crate) written_per_send: f64,
    /// NaN where reading was left out.
    pub(crate) records_per_s: f64,
    pub(crate) server_us_per_record: f64,
    pub(crate) client_us_per_record: f64,
    pub(crate) stored_per_send: f64,
}

impl Measured {
    pub(crate) const NOTHING: Self = Self {
        sends_per_s: f64::NAN,
        server_us_per_send: f64::NAN,
        client_us_per_send: f64::NAN,
        written_per_send: f64::NAN,
        records_per_s: f64::NAN,
        server_us_per_record: f64::NAN,
        client_us_per_record: f64::NAN,
        stored_per_send: f64::NAN,
    };
}

/// Runs all phases.
pub(crate) async fn measure<C: Contestant>(
    setup: &Setup,
    sending: Duration,
    reading: bool,
) -> Result<Measured, Failure> {
    let contestant = C::start(setup).await?;
    let copies = setup.layout.copies(&setup.job);
    let senders = contestant.senders().await?;
    let sources = (0..SENDERS).map(|sender| Source::new(&setup.job, sender, copies));
    let mut lanes: Vec<_> = senders.into_iter().zip(sources).collect();
    let mut sent = 0;
    let mut meter = Meter::start(&contestant);
    let elapsed;
    (lanes, elapsed) = send_all::<C>(lanes, || Until::Each(1), &mut sent).await?;
    // Who takes so long for one message each has been busy for long enough, and is not asked for more.
    let mut measured = meter.sends(&contestant, sent, elapsed);
    if elapsed < sending * 2 {
        // What is made at first use, and caches, take a moment more.
        (lanes, _) = send_all::<C>(lanes, || Until::Time(Instant::now() + sending / 5), &mut sent).await?;
        let before = sent;
        meter = Meter::start(&contestant);
        let elapsed;
        (lanes, elapsed) = send_all::<C>(lanes, || Until::Time(Instant::now() + sending), &mut sent).await?;
        measured = meter.sends(&contestant, sent - before, elapsed);
    }
    if reading {
        lanes = read_all(&contestant, lanes, setup, &mut sent, &mut measured).await?;
    }
    if let Some(entries) = contestant.entries().await?
        && entries != sent * copies as u64
    {
        return Err(format!("{sent} messages were acknowledged, but the store holds {entries} entries").into());
    }
    drop(lanes);
    measured.stored_per_send = contestant.stop().await? as f64 / sent as f64;
    Ok(measured)
}

/// What server and clients have used when a phase began.
struct Meter {
    server: Used,
    here: Used,
}

impl Meter {
    fn start<C: Contestant>(contestant: &C) -> Self {
        Self { server: contestant.server().used(), here: Used::here() }
    }

    /// What they have used since.
    fn used<C: Contestant>(&self, contestant: &C) -> (Used, Used) {
        (contestant.server().used().since(self.server), Used::here().since(self.here))
    }

    fn sends<C: Contestant>(&self, contestant: &C, sends: u64, elapsed: Duration) -> Measured {
        let (server, here) = self.used(contestant);
        let sends = sends as f64;
        Measured {
            sends_per_s: sends / elapsed.as_secs_f64(),
            server_us_per_send: server.cpu_s * 1e6 / sends,
            client_us_per_send: here.cpu_s * 1e6 / sends,
            written_per_send: server.written_bytes as f64 / sends,
            ..Measured::NOTHING
        }
    }
}

type Lanes<C> = Vec<(<C as Contestant>::Sender, Source)>;

/// All senders at once, until every message is acknowledged.
async fn send_all<C: Contestant>(
    lanes: Lanes<C>,
    until: impl Fn() -> Until,
    sent: &mut u64,
) -> Result<(Lanes<C>, Duration), Failure> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (place, (mut sender, mut source)) in lanes.into_iter().enumerate() {
        source.begin(until());
        tasks.spawn(async move {
            C::send(&mut sender, &mut source).await?;
            Ok::<_, Failure>((place, sender, source))
        });
    }
    let mut done: Vec<_> = tasks.join_all().await.into_iter().collect::<Result<_, _>>()?;
    let elapsed = began.elapsed();
    done.sort_by_key(|(place, ..)| *place);
    *sent += done.iter().map(|(_, _, source)| source.given).sum::<u64>();
    Ok((done.into_iter().map(|(_, sender, source)| (sender, source)).collect(), elapsed))
}

/// Everybody misses something, and catches up.
async fn read_all<C: Contestant>(
    contestant: &C,
    lanes: Lanes<C>,
    setup: &Setup,
    sent: &mut u64,
    measured: &mut Measured,
) -> Result<Lanes<C>, Failure> {
    let readers = contestant.readers().await?;
    let seen = last(&lanes, setup);
    let (lanes, _) = send_all::<C>(lanes, || Until::Each(setup.job.missed_each()), sent).await?;
    let there_is = last(&lanes, setup);
    let memberships = setup.job.memberships();

    let meter = Meter::start(contestant);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut reader, members) in readers {
        let expected = members.iter().map(|member| {
            let own = memberships[*member].iter();
            Seen::new(*member, own.map(|&index| (index, seen[index], there_is[index])).collect())
        });
        let mut expected: Vec<Seen> = expected.collect();
        tasks.spawn(async move {
            C::catch_up(&mut reader, &mut expected).await?;
            // The reader's connections are closed later, when time does not count.
            Ok::<_, Failure>((reader, expected))
        });
    }
    let done: Vec<_> = tasks.join_all().await.into_iter().collect::<Result<_, _>>()?;
    let elapsed = began.elapsed();
    let (server, here) = meter.used(contestant);
    let seen: Vec<&Seen> = done.iter().flat_map(|(_, seen)| seen).collect();
    if seen.len() != READERS {
        return Err(format!("only {} readers caught up", seen.len()).into());
    }
    seen.iter().try_for_each(|seen| seen.complete())?;
    let records = seen.iter().map(|seen| seen.records).sum::<u64>() as f64;
    measured.records_per_s = records / elapsed.as_secs_f64();
    measured.server_us_per_record = server.cpu_s * 1e6 / records;
    measured.client_us_per_record = here.cpu_s * 1e6 / records;
    Ok(lanes)
}

/// The number of the last message of each conversation.
fn last<S>(lanes: &[(S, Source)], setup: &Setup) -> Vec<u32> {
    let mut last = vec![0; setup.job.conversations()];
    for (conversation, number) in lanes.iter().flat_map(|(_, source)| source.last()) {
        last[*conversation] = *number;
    }
    last
}

/// Readers shared out evenly.
pub(crate) fn shares(parts: usize) -> Vec<Vec<usize>> {
    (0..parts).map(|part| (part..READERS).step_by(parts).collect()).collect()
}
