//! Groups whose members all listen, and one device in each that sends.

use super::super::plan::{Outcome, Pushes, Target};
use super::super::{Fallible, GROUP, lean};
use super::connect::{Device, Gate};
use super::flow::{Flow, Received};
use super::meter::Meter;
use super::requests::{IN_FLIGHT_MAX, Requests, body};
use bytes::BytesMut;
use highwater_proto::wire::{Create, FrameReader, Send, Subscribe, Subscribed, request};
use quinn::RecvStream;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Bytes taken off a stream at once.
const READ_BYTES: usize = 64 << 10;

/// Sends into every group until the time is over; everything has been received by the end.
pub(super) async fn run(target: &Target, pushes: &Pushes) -> Fallible<Outcome> {
    let members = pushes.devices / pushes.groups;
    let gate = Rc::new(Gate::open(target, pushes.devices)?);
    let meter = Rc::new(Meter::new()?);
    let mut senders = Vec::new();
    let mut listeners = JoinSet::new();
    for group in 0..pushes.groups {
        let flow = Rc::new(Flow::new(members));
        let owner = gate.sessions(vec![user(group, 0)], "s").await?.remove(0);
        let mut sender = Sender::new(owner, group, pushes, flow.clone(), meter.clone());
        sender.create(group, members).await?;
        let devices = gate.sessions((0..members).map(|member| user(group, member)).collect(), "d").await?;
        for device in subscribed(devices).await? {
            listeners.spawn_local(device.listen(flow.clone(), meter.clone()));
        }
        senders.push(sender);
    }
    let mut tasks = JoinSet::new();
    for sender in senders {
        match pushes.rate_per_s.map(|rate| Duration::from_secs_f64(pushes.groups as f64 / rate)) {
            None => tasks.spawn_local(sender.when_received()),
            Some(interval) => tasks.spawn_local(sender.by_the_clock(interval)),
        };
    }
    let outcome = tokio::select! {
        outcome = meter.measure(target, pushes.time) => outcome?,
        Some(ended) = tasks.join_next() => return Err(ended?.err().unwrap_or_else(|| "a sender ended early".into())),
        Some(ended) = listeners.join_next() => return Err(ended?.err().unwrap_or_else(|| "a device left".into())),
    };
    let received = async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Fallible::Ok(())
    };
    tokio::select! {
        received = received => received?,
        Some(ended) = listeners.join_next() => return Err(ended?.err().unwrap_or_else(|| "a device left".into())),
    }
    Ok(outcome)
}

fn user(group: usize, member: usize) -> String {
    format!("{GROUP}{group:03}-{member:05}")
}

/// The one device of a group that sends.
struct Sender {
    device: Device,
    requests: Requests,
    out: BytesMut,
    window: usize,
    flow: Rc<Flow>,
    meter: Rc<Meter>,
}

impl Sender {
    fn new(device: Device, group: usize, pushes: &Pushes, flow: Rc<Flow>, meter: Rc<Meter>) -> Self {
        let conversation = format!("{GROUP}{group:03}");
        let message = Send { conversation, body: body(pushes.body_bytes), ..Default::default() };
        let window = pushes.window;
        Self { device, requests: Requests::new(message), out: BytesMut::new(), window, flow, meter }
    }

    /// Makes the group.
    async fn create(&mut self, group: usize, members: usize) -> Fallible<()> {
        let create = Create {
            kind: 2,
            conversation: format!("{GROUP}{group:03}"),
            members: (1..members).map(|member| user(group, member)).collect(),
            ..Default::default()
        };
        self.requests.other(request::Call::Create(create), &mut self.out)?;
        self.write().await?;
        self.device.commands.answer().await
    }

    /// A window of messages that not all have yet.
    async fn when_received(mut self) -> Fallible<()> {
        loop {
            let now = Instant::now();
            while !self.meter.is_stopped() && self.flow.under_way() < self.window {
                self.requests.numbered(self.flow.next(now), now, &mut self.out)?;
            }
            self.write().await?;
            if self.is_done() {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// Messages at fixed times.
    async fn by_the_clock(mut self, interval: Duration) -> Fallible<()> {
        let mut due = Instant::now();
        while !self.meter.is_stopped() {
            tokio::select! {
                waited = self.wait() => waited?,
                () = tokio::time::sleep_until(due.into()) => {
                    let now = Instant::now();
                    while due <= now {
                        match self.requests.unanswered().max(self.flow.under_way()) < IN_FLIGHT_MAX {
                            true => self.requests.numbered(self.flow.next(now), now, &mut self.out)?,
                            false => self.meter.held_back(1),
                        }
                        due += interval;
                    }
                    self.write().await?;
                }
            }
        }
        while !self.is_done() {
            self.wait().await?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.meter.is_stopped() && self.requests.unanswered() == 0 && self.flow.under_way() == 0
    }

    /// Waits until there is an answer or room for another message.
    async fn wait(&mut self) -> Fallible<()> {
        tokio::select! {
            () = self.flow.arrived() => {}
            read = self.device.commands.read() => {
                read?;
                let now = Instant::now();
                while let Some(frame) = self.device.commands.ready()? {
                    self.meter.answered(self.requests.answered(frame, now)?);
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Fallible<()> {
        if !self.out.is_empty() {
            self.device.send.write_chunk(self.out.split().freeze()).await?;
        }
        Ok(())
    }
}

/// A device that is caught up and listens.
pub(super) struct Listener {
    /// Keeps the session open.
    _device: Device,
    receive: RecvStream,
    frames: FrameReader,
    received: Received,
}

/// Subscribes all devices and waits until they are caught up.
pub(super) async fn subscribed(devices: Vec<Device>) -> Fallible<Vec<Listener>> {
    let mut subscribing = JoinSet::new();
    for device in devices {
        subscribing.spawn_local(Listener::subscribe(device));
    }
    let mut listeners = Vec::with_capacity(subscribing.len());
    while let Some(listener) = subscribing.join_next().await {
        listeners.push(listener??);
    }
    Ok(listeners)
}

impl Listener {
    async fn subscribe(mut device: Device) -> Fallible<Self> {
        let mut out = BytesMut::new();
        let subscribe = Subscribe { snapshot: true, live: true, ..Default::default() };
        Requests::new(Send::default()).other(request::Call::Subscribe(subscribe), &mut out)?;
        device.send.write_chunk(out.freeze()).await?;
        device.commands.answer().await?;
        let receive = device.connection.accept_uni().await?;
        let received = Received::default();
        let mut listener = Self { _device: device, receive, frames: FrameReader::new(), received };
        let _: Subscribed = listener.next().await?;
        loop {
            let delta: lean::Delta = listener.next().await?;
            // All pages of a snapshot but the last one have no checkpoint.
            if !delta.checkpoint.is_empty() {
                listener.received = Received::starting_with(&delta);
                return Ok(listener);
            }
        }
    }

    async fn next<M: prost::Message + Default>(&mut self) -> Fallible<M> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(message);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Fallible<()> {
        let chunk = self.receive.read_chunk(READ_BYTES, true).await?.ok_or("the server finished the delta stream")?;
        self.frames.push(&chunk.bytes);
        Ok(())
    }

    async fn listen(mut self, flow: Rc<Flow>, meter: Rc<Meter>) -> Fallible<()> {
        loop {
            self.read().await?;
            let now = Instant::now();
            while let Some(delta) = self.frames.next::<lean::Delta>()? {
                self.received.take(&delta, &flow, now, |took| meter.delivered(took))?;
                if !delta.records.is_empty() {
                    meter.delta();
                }
            }
        }
    }
}
