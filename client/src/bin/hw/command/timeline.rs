//! `sync` and `tail`: what is new for a device, each line printed before the checkpoint that covers it is kept.

use crate::args;
use crate::connect::{Login, PATIENCE};
use crate::failure::Failure;
use crate::output::Output;
use crate::{json, text};
use highwater_client::{
    Batch, Checkpoint, CheckpointStore, Client, ConnectionState, Event, SqliteCheckpoints, Start, SubscribeOptions,
    Subscription,
};
use highwater_proto::error::Error;
use highwater_proto::id::Incarnation;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The device's checkpoint, which outlives the subscriptions that a command goes through.
#[derive(Clone)]
struct Checkpoints(Arc<Mutex<SqliteCheckpoints>>);

impl CheckpointStore for Checkpoints {
    fn load(&mut self, incarnation: Incarnation) -> Result<Option<Checkpoint>, Error> {
        self.0.lock().load(incarnation)
    }

    fn store(&mut self, incarnation: Incarnation, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.0.lock().store(incarnation, checkpoint)
    }
}

impl Checkpoints {
    /// The checkpoint of the login's device with the server that the client is connected to.
    async fn open(login: &Login, client: &Client) -> Result<Self, Failure> {
        let incarnation = client.connected().await?.incarnation;
        Ok(Self(Arc::new(Mutex::new(login.state_dir()?.checkpoints(incarnation)?))))
    }
}

/// Reads until caught up.
pub(crate) async fn sync(login: &Login, sync: &args::Sync, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    let checkpoints = Checkpoints::open(login, &client).await?;
    let start = match (sync.from_start, sync.snapshot) {
        (true, _) => Start::FromStart,
        (false, true) => Start::Snapshot,
        (false, false) => Start::Resume,
    };
    let options = SubscribeOptions {
        start,
        per_conversation_max: sync.cap.unwrap_or(0),
        live: false,
        ..SubscribeOptions::default()
    };
    let mut subscription = client.subscribe_with(options, checkpoints);
    while let Some(batch) = next(&client, &mut subscription).await? {
        deliver(batch, output)?;
    }
    client.close().await;
    Ok(())
}

/// Reads until caught up, and goes on with what is new until the count or the time is full.
pub(crate) async fn tail(login: &Login, tail: &args::Tail, output: &mut Output) -> Result<(), Failure> {
    let seconds = tail.timeout.map(Duration::try_from_secs_f64).transpose();
    let timeout = seconds.map_err(|error| Failure::usage(format!("--timeout: {error}")))?;
    let client = login.connect().await?;
    let checkpoints = Checkpoints::open(login, &client).await?;
    let following = follow(&client, checkpoints, tail.count, output);
    match timeout {
        // Nothing is lost when the time is over: what was not printed is not covered by the checkpoint.
        Some(timeout) => tokio::time::timeout(timeout, following).await.unwrap_or(Ok(()))?,
        None => following.await?,
    }
    client.close().await;
    Ok(())
}

async fn follow(
    client: &Client,
    checkpoints: Checkpoints,
    count: Option<u32>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut left = count;
    loop {
        // Never more than what is left of the count: a delta is printed as a whole.
        let asked = left.unwrap_or(0);
        let options = SubscribeOptions { records_max: asked, ..SubscribeOptions::default() };
        let mut subscription = client.subscribe_with(options, checkpoints.clone());
        while let Some(batch) = subscription.next_batch().await? {
            let printed = deliver(batch, output)?;
            let Some(count) = &mut left else { continue };
            *count = count.saturating_sub(printed);
            if *count == 0 {
                return Ok(());
            }
            if *count < asked {
                break;
            }
        }
        if left == Some(asked) || left.is_none() {
            return Ok(());
        }
    }
}

/// The next batch; fails once the connection has been away for too long.
async fn next<'a>(
    client: &Client,
    subscription: &'a mut Subscription<Checkpoints>,
) -> Result<Option<Batch<'a, Checkpoints>>, Failure> {
    tokio::select! {
        batch = subscription.next_batch() => Ok(batch?),
        error = lost(client) => Err(error),
    }
}

/// Waits until the client has been without a connection for [`PATIENCE`].
pub(crate) async fn lost(client: &Client) -> Failure {
    let mut states = client.state();
    let mut since: Option<Instant> = None;
    let mut reason = None;
    loop {
        match states.current() {
            ConnectionState::Connected(_) => since = None,
            ConnectionState::Backoff { error, .. } => {
                since.get_or_insert_with(Instant::now);
                reason = Some(error);
            }
            ConnectionState::Connecting | ConnectionState::Closed { .. } => {}
        }
        let Some(since) = since else {
            if states.changed().await.is_none() {
                std::future::pending::<()>().await;
            }
            continue;
        };
        match tokio::time::timeout_at(since + PATIENCE, states.changed()).await {
            Ok(Some(_)) => {}
            // Whoever waits for an answer learns why the client closed.
            Ok(None) => std::future::pending().await,
            Err(_) => break,
        }
    }
    let unreachable = || Error::new(highwater_proto::error::Code::Unreachable, "the connection was lost");
    reason.unwrap_or_else(unreachable).into()
}

/// Prints a batch, hands it over, and only then keeps its checkpoint; says how many records it held.
fn deliver(batch: Batch<'_, Checkpoints>, output: &mut Output) -> Result<u32, Failure> {
    let mut records = 0;
    for event in batch.events() {
        match event {
            Event::Record(record) => {
                records += 1;
                output.line(|| json::record(record), || text::record(record))?;
            }
            Event::Gap(gap) => output.line(|| json::gap(gap), || text::gap(gap))?,
            Event::Reset { reason } => {
                output.line(
                    || json::reset(reason.as_str()),
                    || format!("--- anew ({}) ---", text::escape(reason.as_str())),
                )?;
            }
            Event::Conversation(conversation) => {
                output.line(|| json::conversation(conversation), || text::conversation(conversation))?;
            }
            Event::Checkpoint { from, to, checkpoint, caught_up } => {
                output.json_line(|| json::checkpoint(*from, *to, checkpoint, *caught_up))?;
            }
        }
    }
    output.flush()?;
    batch.commit()?;
    Ok(records)
}
