//! Sends and syncs through the engine, in process, on the disk of the reports.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use highwater_benches::context::{default_out, scratch_below};
use highwater_benches::load::CRASH;
use highwater_benches::store::send;
use highwater_benches::{Bench, message};
use highwater_engine::Options;
use highwater_engine::command::Destination;
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::proto::frame::GroupBuilder;
use highwater_engine::proto::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use highwater_engine::proto::record::{Fact, Fanout, Kind, Message, Record};
use std::os::unix::fs::FileExt;
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

/// One group of records built, with its frame, and appended without a sync.
fn log_append(c: &mut Criterion) {
    const RECORDS: u64 = 64;
    let directory = scratch_below(&default_out()).expect("a directory on a disk");
    let file = std::fs::File::create(directory.path().join("log")).expect("a file");
    let record = |number: u64| Record {
        position: Position(number),
        time_ms: 1_700_000_000_000,
        author: UserId(4_711),
        by_service: false,
        device: DeviceId(5_000),
        client_seq: number,
        previous: Position(number - 1),
        conversation: ConversationId(12_000),
        seq: Seq(number),
        ordinal: Ordinal(number),
        fact: Fact::Message(Message { body: vec![b'x'; 200].into(), ..Message::default() }),
    };
    let records: Vec<Record> = (1..=RECORDS).map(record).collect();
    let mut group = c.benchmark_group("log append");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("a group of 64, not synced", |b| {
        b.iter(|| {
            let mut frame = GroupBuilder::new(Position(1));
            records.iter().for_each(|record| frame.push(record));
            let mut bytes = frame.header(Epoch(1), Position(0)).encode(1).to_vec();
            bytes.extend_from_slice(frame.payload());
            file.write_all_at(&bytes, 0).expect("the file is written");
        });
    });
    group.finish();
}

/// A message to a thousand members, without waiting for a sync: nearly all of it is appending to heads.
fn head_append(c: &mut Criterion) {
    const MEMBERS: usize = 1_000;
    const MESSAGES: u64 = 64;
    let options = Options { durability: CRASH, ..Options::default() };
    let directory = scratch_below(&default_out()).expect("a directory on a disk");
    let bench = Bench::open(directory, options, MEMBERS).expect("an empty store opens");
    bench.group(Kind::Group, "crowd", &(0..MEMBERS).collect::<Vec<_>>()).expect("the group is made");
    bench.pin("crowd", Fanout::Write).expect("its fan-out is fixed");
    let session = bench.session(0);
    let mut next = session.last_client_seq + 1;
    let mut group = c.benchmark_group("head append");
    group.throughput(Throughput::Elements(MESSAGES * MEMBERS as u64));
    group.bench_function("64 messages to 1,000 members", |b| {
        b.iter(|| {
            let to = || Destination::Conversation("crowd".into());
            let messages = (next..next + MESSAGES).map(|number| send(session, number, to(), vec![b'x'; 8]));
            bench.execute_all(messages).expect("they are accepted");
            next += MESSAGES;
        });
    });
    group.finish();
}

/// A sync that merges an inbox with the outboxes of 20 followed groups.
fn merge(c: &mut Criterion) {
    let bench = Bench::with_users(8);
    let session = bench.session(1);
    let mut next = session.last_client_seq + 1;
    for group in 0..20 {
        let name = format!("g{group}");
        bench.group(Kind::Group, &name, &(0..8).collect::<Vec<_>>()).expect("the group is made");
        bench.pin(&name, Fanout::Read).expect("its fan-out is fixed");
    }
    let start = bench.engine.sync("u0", Start::Beginning, SyncLimits::default()).expect("the user exists");
    let checkpoint = start.checkpoint.expect("a delta has a checkpoint");
    for number in 0..500 {
        let to = match number % 4 {
            0 => Destination::User("u0".into()),
            _ => Destination::Conversation(format!("g{}", number % 20).into()),
        };
        bench.engine.execute(send(session, next, to, vec![b'x'; 200])).expect("it is accepted");
        next += 1;
    }
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(500));
    group.bench_function("500 records from an inbox and 20 outboxes, hot", |b| {
        let sync = || bench.engine.sync("u0", Start::Checkpoint(checkpoint), SyncLimits::default());
        b.iter(|| sync().expect("the user exists"));
    });
    group.finish();
}

criterion_group!(benches, sends, syncs, log_append, head_append, merge);
criterion_main!(benches);
