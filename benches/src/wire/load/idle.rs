//! Devices that are connected and subscribed, and to which nothing happens: what they take of the server's memory.

use super::super::plan::{Idle, Memory, Outcome, Target};
use super::super::{Fallible, process};
use super::connect::Gate;
use super::pushes::subscribed;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connects more and more devices, and reads the server's memory at each step.
pub(super) async fn run(target: &Target, idle: &Idle) -> Fallible<Outcome> {
    let most = idle.steps.last().copied().ok_or("there are no steps")?;
    let gate = Rc::new(Gate::open(target, most)?);
    let mut connected = Vec::with_capacity(most);
    let mut memory = Vec::new();
    for step in &idle.steps {
        // Each user is in a group of its own, of which it hears nothing.
        let users = (connected.len()..*step).map(|index| format!("w{index:05}-0")).collect();
        connected.extend(subscribed(gate.sessions(users, "d").await?).await?);
        let settle = Duration::from_millis(idle.settle_ms);
        tokio::time::sleep(settle).await;
        let (before, started) = (process::cpu_s(target.pid)?, Instant::now());
        tokio::time::sleep(settle).await;
        let cpu = (process::cpu_s(target.pid)? - before) / started.elapsed().as_secs_f64();
        memory.push(Memory { devices: *step, bytes: process::anonymous_bytes(target.pid)?, cpu });
    }
    Ok(Outcome { memory, ..Default::default() })
}
