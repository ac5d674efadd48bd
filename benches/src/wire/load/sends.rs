//! Connections that send direct messages: as many as go with so many unanswered, or by the clock.

use super::super::Fallible;
use super::super::plan::{Outcome, Sends, Target};
use super::connect::{Device, Gate};
use super::meter::Meter;
use super::requests::{IN_FLIGHT_MAX, Requests, body};
use bytes::BytesMut;
use highwater_proto::wire::Send;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Sends until the time is over; every request has been answered by the end.
pub(super) async fn run(target: &Target, sends: &Sends) -> Fallible<Outcome> {
    let gate = Rc::new(Gate::open(target, sends.connections)?);
    let users = (0..sends.connections).map(user).collect();
    let devices = gate.sessions(users, "d").await?;
    let meter = Rc::new(Meter::new()?);
    let mut tasks = JoinSet::new();
    for (index, device) in devices.into_iter().enumerate() {
        // In pairs, who write to each other.
        let message = Send { to: user(index ^ 1), body: body(sends.body_bytes), ..Default::default() };
        let sender = Sender { device, requests: Requests::new(message), out: BytesMut::new(), meter: meter.clone() };
        let in_flight = sends.in_flight;
        match sends.rate_per_s.map(|rate| Duration::from_secs_f64(sends.connections as f64 / rate)) {
            None => tasks.spawn_local(sender.when_answered(in_flight)),
            Some(interval) => {
                let phase = interval.mul_f64(index as f64 / sends.connections as f64);
                tasks.spawn_local(sender.by_the_clock(interval, phase))
            }
        };
    }
    let outcome = tokio::select! {
        outcome = meter.measure(target, sends.time) => outcome?,
        // Nobody ends before the time is over unless something is wrong.
        Some(ended) = tasks.join_next() => return Err(ended?.err().unwrap_or_else(|| "a sender ended early".into())),
    };
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(outcome)
}

fn user(index: usize) -> String {
    format!("w0-{index:05}")
}

struct Sender {
    device: Device,
    requests: Requests,
    out: BytesMut,
    meter: Rc<Meter>,
}

impl Sender {
    /// Each answer makes room for the next request.
    async fn when_answered(mut self, in_flight: usize) -> Fallible<()> {
        loop {
            let now = Instant::now();
            while !self.meter.is_stopped() && self.requests.unanswered() < in_flight {
                self.requests.message(now, &mut self.out)?;
            }
            self.write().await?;
            if self.requests.unanswered() == 0 {
                return Ok(());
            }
            self.device.commands.read().await?;
            self.take_answers()?;
        }
    }

    /// Requests at fixed times, whether or not those before have been answered.
    async fn by_the_clock(mut self, interval: Duration, phase: Duration) -> Fallible<()> {
        let mut due = Instant::now() + phase;
        while !self.meter.is_stopped() {
            tokio::select! {
                read = self.device.commands.read(), if self.requests.unanswered() > 0 => {
                    read?;
                    self.take_answers()?;
                }
                () = tokio::time::sleep_until(due.into()) => {
                    let now = Instant::now();
                    while due <= now {
                        match self.requests.unanswered() < IN_FLIGHT_MAX {
                            true => self.requests.message(now, &mut self.out)?,
                            false => self.meter.held_back(1),
                        }
                        due += interval;
                    }
                    self.write().await?;
                }
            }
        }
        while self.requests.unanswered() > 0 {
            self.device.commands.read().await?;
            self.take_answers()?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Fallible<()> {
        if !self.out.is_empty() {
            self.device.send.write_chunk(self.out.split().freeze()).await?;
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Fallible<()> {
        let now = Instant::now();
        while let Some(frame) = self.device.commands.ready()? {
            self.meter.answered(self.requests.answered(frame, now)?);
        }
        Ok(())
    }
}
