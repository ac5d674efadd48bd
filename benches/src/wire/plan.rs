//! What the load generator is told and what it answers: one line of JSON each, so that it can be a process of its own.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Whom to load, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) job: Job,
}

/// A running server: Highwater, or the bare one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: std::net::SocketAddr,
    /// Where it put its certificate (and Highwater its signing key).
    pub(crate) data: PathBuf,
    /// Whose CPU time and memory are read.
    pub(crate) pid: u32,
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Sends(Sends),
    Pushes(Pushes),
    Idle(Idle),
}

/// Connections that send direct messages and read nothing but the answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sends {
    pub(crate) connections: usize,
    /// Unanswered requests of each connection.
    pub(crate) in_flight: usize,
    pub(crate) body_bytes: usize,
    /// Sends of all connections together by the clock, whether or not answers come; without it as many as go.
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) time: Time,
}

/// Devices that receive what one device a group sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pushes {
    /// Receiving devices, each of a user of its own.
    pub(crate) devices: usize,
    /// Groups of equal size among which they are divided.
    pub(crate) groups: usize,
    /// Messages of a group that some member has not received yet.
    pub(crate) window: usize,
    pub(crate) body_bytes: usize,
    /// Messages of all groups together by the clock; without it as many as the window allows.
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) time: Time,
}

/// Devices that are connected and subscribed, and to which nothing happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Ascending numbers of devices at which the server's memory is read.
    pub(crate) steps: Vec<usize>,
    /// How long things may calm down before a reading.
    pub(crate) settle_ms: u64,
}

/// When a measurement begins and how long it takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Time {
    pub(crate) warmup_ms: u64,
    pub(crate) measure_ms: u64,
}

/// What was measured: of a window of time, or of steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Answered sends.
    pub(crate) sends: u64,
    /// Records that arrived at a device.
    pub(crate) deliveries: u64,
    /// Frames in which they arrived.
    pub(crate) deltas: u64,
    pub(crate) server_cpu_s: f64,
    pub(crate) load_cpu_s: f64,
    /// From writing a request to reading its answer.
    pub(crate) ack: Quantiles,
    /// From writing a message to reading it on another device.
    pub(crate) delivery: Quantiles,
    /// Sends that the clock asked for and that did not go out, since too many were unanswered.
    pub(crate) held_back: u64,
    /// Datagrams for which a socket of this machine had no room: what was in them was sent again.
    pub(crate) dropped: u64,
    pub(crate) memory: Vec<Memory>,
}

/// A server's memory with so many devices connected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) devices: usize,
    /// Anonymous resident memory: mapped files are left out.
    pub(crate) bytes: u64,
    /// The server's CPU time per second while nothing happened but keep-alives.
    pub(crate) cpu: f64,
}

/// Of a distribution of times, in µs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Outcome {
    pub(crate) fn sends_per_s(&self) -> f64 {
        self.sends as f64 / self.seconds
    }

    pub(crate) fn deliveries_per_s(&self) -> f64 {
        self.deliveries as f64 / self.seconds
    }

    pub(crate) fn cpu_us_per_send(&self) -> f64 {
        self.server_cpu_s / self.sends as f64 * 1e6
    }

    pub(crate) fn cpu_us_per_delivery(&self) -> f64 {
        self.server_cpu_s / self.deliveries as f64 * 1e6
    }

    /// Of the frames that had any.
    pub(crate) fn records_per_delta(&self) -> f64 {
        self.deliveries as f64 / self.deltas as f64
    }

    /// How busy the server was, in percent of one core.
    pub(crate) fn server_percent(&self) -> f64 {
        self.server_cpu_s / self.seconds * 100.0
    }

    /// How busy the generator was, in percent of one core.
    pub(crate) fn load_percent(&self) -> f64 {
        self.load_cpu_s / self.seconds * 100.0
    }

    /// Dropped datagrams in a second.
    pub(crate) fn dropped_per_s(&self) -> f64 {
        self.dropped as f64 / self.seconds
    }

    /// Memory of each device that was connected between the first step and this one, in KiB.
    pub(crate) fn kib_per_device(&self, step: usize) -> f64 {
        let (first, last) = (self.memory[0], self.memory[step]);
        (last.bytes as f64 - first.bytes as f64) / 1024.0 / (last.devices - first.devices) as f64
    }
}
