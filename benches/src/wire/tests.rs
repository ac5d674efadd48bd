//! The generator and both servers in one process: that the bare server and Highwater are spoken to in the same way, and
//! that what is counted adds up.

use super::Fallible;
use super::plan::{Idle, Job, Outcome, Plan, Pushes, Sends, Target, Time};
use super::servers::Kind;
use super::{echo, load};
use highwater_server::{Config, Server};

const TIME: Time = Time { warmup_ms: 50, measure_ms: 200 };

/// Does a job with a server that runs beside it.
fn carry_out(kind: Kind, job: Job) -> Fallible<Outcome> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut server = None;
    let address = match kind {
        Kind::Bare => {
            let endpoint = runtime.block_on(async { echo::open(&data) })?;
            let address = endpoint.local_addr()?;
            runtime.spawn(echo::accept(endpoint));
            address
        }
        Kind::Highwater => {
            let started = runtime.block_on(Server::start(Config::dev(&data, ([127, 0, 0, 1], 0).into())))?;
            server.insert(started).local_address()
        }
    };
    let outcome = load::carry_out(&Plan { target: Target { address, data, pid: std::process::id() }, job });
    if let Some(server) = server {
        runtime.block_on(server.shutdown()).map_err(|error| error.message)?;
    }
    outcome
}

#[test]
fn sends_are_answered_by_both() {
    for kind in [Kind::Bare, Kind::Highwater] {
        for rate_per_s in [None, Some(500.0)] {
            let sends = Sends { connections: 3, in_flight: 4, body_bytes: 200, rate_per_s, time: TIME };
            let outcome = carry_out(kind, Job::Sends(sends)).expect("every answer is right");
            assert!(outcome.sends > 0 && outcome.ack.p50 > 0.0, "{kind:?} at {rate_per_s:?}: {outcome:?}");
            assert_eq!((outcome.deliveries, outcome.held_back), (0, 0), "{kind:?} at {rate_per_s:?}");
        }
    }
}

#[test]
fn messages_reach_every_device_of_their_group() {
    for kind in [Kind::Bare, Kind::Highwater] {
        for rate_per_s in [None, Some(200.0)] {
            let (devices, groups, window) = (6, 2, 4);
            let pushes = Pushes { devices, groups, window, body_bytes: 200, rate_per_s, time: TIME };
            let outcome = carry_out(kind, Job::Pushes(pushes)).expect("every record is right");
            assert!(outcome.sends > 0 && outcome.delivery.p50 > 0.0, "{kind:?} at {rate_per_s:?}: {outcome:?}");
            assert!(outcome.deltas > 0 && outcome.deltas <= outcome.deliveries, "{kind:?}: {outcome:?}");
        }
    }
}

#[test]
fn idle_devices_are_counted_step_by_step() {
    for kind in [Kind::Bare, Kind::Highwater] {
        let outcome = carry_out(kind, Job::Idle(Idle { steps: vec![2, 5], settle_ms: 10 })).expect("they connect");
        let devices: Vec<usize> = outcome.memory.iter().map(|memory| memory.devices).collect();
        assert_eq!(devices, [2, 5], "{kind:?}");
    }
}
