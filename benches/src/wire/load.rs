//! The load generator: a process of its own with one thread, the same for both servers.
//!
//! It speaks the protocol over quinn itself, so that it costs as little as it can, and yet looks at every answer: each
//! request is answered once, each record comes once and in order. What it finds wrong ends the run.

mod connect;
mod flow;
mod idle;
mod meter;
mod pushes;
mod requests;
mod sends;

use super::Fallible;
use super::plan::{Job, Outcome, Plan};
use std::io::Read;
use tokio::task::LocalSet;

/// Reads a plan from standard input, carries it out, and prints the outcome.
pub(crate) fn run() -> Fallible<()> {
    let mut plan = String::new();
    std::io::stdin().read_to_string(&mut plan)?;
    let plan: Plan = serde_json::from_str(&plan)?;
    let outcome = carry_out(&plan)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Carries out a plan on this thread.
pub(super) fn carry_out(plan: &Plan) -> Fallible<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match &plan.job {
            Job::Sends(sends) => sends::run(&plan.target, sends).await,
            Job::Pushes(pushes) => pushes::run(&plan.target, pushes).await,
            Job::Idle(idle) => idle::run(&plan.target, idle).await,
        }
    })
}
