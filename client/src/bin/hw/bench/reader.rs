//! A device that reads what is new as it comes, checks its order, and now and then goes away and comes back.

use super::ending::{Found, Until};
use super::meter::Shard;
use super::order::Order;
use super::run::Run;
use crate::failure::Failure;
use highwater_client::{
    Client, Code, ConnectionState, Error, Event, MemoryCheckpoints, Start, StateWatch, SubscribeOptions, Subscription,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// What a reader is told while it reads, and whom it tells.
pub(super) struct Wires {
    /// Told once, when it has caught up for the first time.
    pub(super) ready: mpsc::UnboundedSender<()>,
    /// How many may connect at a time, at first.
    pub(super) connecting: Arc<Semaphore>,
    /// Go away and come back.
    pub(super) storm: mpsc::Receiver<()>,
    pub(super) until: watch::Receiver<Until>,
}

/// The connection.
struct Line {
    client: Client,
    states: StateWatch,
    subscription: Subscription<MemoryCheckpoints>,
}

impl Line {
    fn open(run: &Run, number: usize, name: &str, start: Start, store: MemoryCheckpoints) -> Result<Self, Error> {
        let client = run.connector.reader(name).sockets(run.sockets.of(number)).start()?;
        let options = SubscribeOptions { start, ..SubscribeOptions::default() };
        Ok(Self { states: client.state(), subscription: client.subscribe_with(options, store), client })
    }
}

/// What the reader knows.
struct Ledger {
    run: Arc<Run>,
    shard: Shard,
    name: String,
    order: Order,
    /// When it began to catch up; `None`: it has caught up.
    behind_since_us: Option<u64>,
    is_lost: bool,
    /// Whether there was a connection before.
    was_connected: bool,
    /// Whether it has caught up for the first time.
    has_begun: bool,
}

/// Reads until told to end.
pub(super) async fn read(run: Arc<Run>, number: usize, mut wires: Wires) -> Result<Found, Failure> {
    let user = run.plan.readers[number];
    let name = run.plan.user_name(user);
    let explain = |mut error: Error| {
        error.message = format!("reader {}: {}", run.plan.user_name(user), error.message);
        Failure::from(error)
    };
    // Dropped when the reader has caught up. It is never closed.
    let mut connecting = wires.connecting.clone().acquire_owned().await.ok();
    let mut ledger = Ledger {
        shard: run.meter.shard(),
        name,
        order: Order::default(),
        behind_since_us: Some(run.meter.now_us()),
        is_lost: false,
        was_connected: false,
        has_begun: false,
        run: Arc::clone(&run),
    };
    let mut line =
        Line::open(&run, number, &ledger.name, Start::Snapshot, MemoryCheckpoints::default()).map_err(explain)?;
    loop {
        if let Some(found) = ledger.ended(user, &wires.until.borrow_and_update()) {
            tokio::spawn(async move { line.client.close().await });
            return Ok(found);
        }
        tokio::select! {
            // What is rare comes first; above all, that there is a connection again comes before what comes over it.
            biased;
            Some(state) = line.states.changed() => ledger.changed(state),
            Some(()) = wires.storm.recv() => {
                let returned = tokio::select! {
                    returned = come_back(&run, number, &ledger.name, line) => Some(returned.map_err(explain)?),
                    () = given_up(&mut wires.until) => None,
                };
                ledger.away();
                match returned {
                    Some(returned) => line = returned,
                    None => return Ok(ledger.ended(user, &wires.until.borrow()).unwrap_or_default()),
                }
            }
            changed = wires.until.changed() => if changed.is_err() {
                return Err(explain(Error::new(Code::Unreachable, "the run was given up")));
            },
            batch = line.subscription.next_batch() => match batch {
                Ok(Some(batch)) => {
                    if ledger.take(batch.events()) && connecting.take().is_some() {
                        // The run is over if nobody listens.
                        wires.ready.send(()).unwrap_or(());
                    }
                    batch.commit().map_err(explain)?;
                }
                Ok(None) => return Err(explain(Error::new(Code::Replaced, "the subscription ended"))),
                Err(error) if error.code == Code::Protocol => ledger.order.refused(&error.message),
                Err(error) => return Err(explain(error)),
            },
        }
    }
}

/// Leaves, waits as long as the workload says, and begins anew from the checkpoint.
async fn come_back(run: &Run, number: usize, name: &str, mut line: Line) -> Result<Line, Error> {
    let store = line.subscription.store().clone();
    line.client.close().await;
    let away_ms = run.plan.workload.reconnect.map_or(0, |reconnect| reconnect.away_ms);
    tokio::time::sleep(Duration::from_millis(away_ms)).await;
    Line::open(run, number, name, Start::ResumeOrSnapshot, store)
}

/// Waits until nobody waits for this reader any more.
async fn given_up(until: &mut watch::Receiver<Until>) {
    // An error says that the whole run is over.
    let _ = until.wait_for(|until| matches!(until, Until::GivenUp(..))).await;
}

impl Ledger {
    /// Takes what came. Whether the reader has caught up just now.
    fn take(&mut self, events: &[Event]) -> bool {
        let mut due_us = Vec::new();
        let mut count = 0;
        let mut is_caught_up = false;
        for event in events {
            match event {
                Event::Record(record) => {
                    let is_new = self.order.record(record);
                    if is_new
                        && record.from.as_ref() != Some(&self.name)
                        && let Some(due) = self.run.due_us(record)
                    {
                        count += 1;
                        due_us.push(due);
                    }
                }
                Event::Gap(gap) => self.order.gap(gap),
                Event::Reset { .. } => {
                    self.order.reset();
                    self.run.meter.resets.fetch_add(u64::from(self.has_begun), Ordering::Relaxed);
                }
                Event::Conversation(conversation) => self.order.conversation(conversation),
                Event::Checkpoint { caught_up, .. } => is_caught_up = *caught_up,
            }
        }
        if self.behind_since_us.is_some() {
            // How long it was away says nothing about how fast messages are delivered.
            due_us.clear();
        }
        if count > 0 {
            self.run.meter.delivered(self.shard, count, &due_us);
        }
        if !is_caught_up || self.is_lost {
            return false;
        }
        let Some(since_us) = self.behind_since_us.take() else { return false };
        if std::mem::replace(&mut self.has_begun, true) {
            self.run.meter.caught_up(self.shard, since_us);
        }
        true
    }

    fn changed(&mut self, state: ConnectionState) {
        match state {
            ConnectionState::Connected(_) => {
                if std::mem::replace(&mut self.was_connected, true) {
                    // The loss before it may have been too quick to be seen.
                    self.away();
                    self.run.meter.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                self.is_lost = false;
            }
            ConnectionState::Backoff { error, .. } => {
                self.run.meter.error(&error);
                self.away();
            }
            // The subscription says why, when it is asked.
            ConnectionState::Connecting | ConnectionState::Closed { .. } => {}
        }
    }

    /// The connection is lost, or was given up.
    fn away(&mut self) {
        self.is_lost = true;
        self.behind_since_us.get_or_insert_with(|| self.run.meter.now_us());
    }

    /// What was found, if there is no point in reading on.
    fn ended(&mut self, user: u32, until: &Until) -> Option<Found> {
        until.ended(user, &mut self.order, self.behind_since_us.is_some())
    }
}
