//! Sends and syncs through the engine, in process, on the disk of the temporary directory.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use highwater_benches::{Bench, message};
use highwater_engine::entry::{Start, SyncLimits};
use std::sync::mpsc::channel;

/// Messages in flight at once.
const BURST: u64 = 1_024;

fn sends(c: &mut Criterion) {
    let bench = Bench::with_users(2);
    let session = bench.session(0);
    let mut next = session.last_client_seq + 1;
    let mut group = c.benchmark_group("send");
    group.bench_function("one durable direct message", |b| {
        b.iter(|| {
            bench.engine.execute(message(session, next, 1)).expect("it is accepted");
            next += 1;
        });
    });
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("1,024 direct messages in flight", |b| {
        b.iter(|| {
            let (done, outcomes) = channel();
            for number in next..next + BURST {
                let done = done.clone();
                let completion = Box::new(move |outcome| drop(done.send(outcome)));
                bench.engine.submit(message(session, number, 1), completion).expect("the queue has room");
            }
            drop(done);
            next += BURST;
            assert!(outcomes.iter().all(|outcome| outcome.is_ok()));
        });
    });
    group.finish();
}

fn syncs(c: &mut Criterion) {
    let bench = Bench::with_users(6);
    let mut group = c.benchmark_group("sync");
    let start = bench.engine.sync("u0", Start::Beginning, SyncLimits::default()).expect("the user exists");
    let checkpoint = start.checkpoint.expect("a delta has a checkpoint");
    for sender in 1..=5 {
        let session = bench.session(sender);
        for number in 1..=10 {
            bench.engine.execute(message(session, number, 0)).expect("it is accepted");
        }
    }
    let mut sync = |name: &str| {
        group.bench_function(name, |b| {
            b.iter_batched(
                || Start::Checkpoint(checkpoint),
                |start| bench.engine.sync("u0", start, SyncLimits::default()).expect("the user exists"),
                BatchSize::SmallInput,
            );
        });
    };
    sync("50 messages in 5 conversations, hot");
    bench.engine.persist().expect("the head is persisted");
    sync("50 messages in 5 conversations, warm");
    group.finish();
}

criterion_group!(benches, sends, syncs);
criterion_main!(benches);
