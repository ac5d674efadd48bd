//! Stored codecs: records and packed lists.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use highwater_engine::proto::id::{ConversationId, DeviceId, Ordinal, Position, Seq, UserId};
use highwater_engine::proto::packed;
use highwater_engine::proto::record::{Fact, Message, Record};
use std::hint::black_box;

fn record() -> Record {
    Record {
        position: Position(1_000_000),
        time_ms: 1_700_000_000_000,
        author: UserId(4_711),
        by_service: false,
        device: DeviceId(5_000),
        client_seq: 300,
        previous: Position(999_000),
        conversation: ConversationId(12_000),
        seq: Seq(400),
        ordinal: Ordinal(390),
        fact: Fact::Message(Message { body: vec![b'x'; 200].into(), ..Message::default() }),
    }
}

fn codecs(c: &mut Criterion) {
    let record = record();
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    c.bench_function("record/encode", |b| {
        b.iter(|| {
            bytes.clear();
            black_box(&record).encode(&mut bytes);
        });
    });
    c.bench_function("record/decode", |b| {
        b.iter(|| Record::decode(record.position, black_box(&bytes)).expect("it was encoded"));
    });

    let positions: Vec<Position> = (1..=512).map(|n| Position(n * 1_003)).collect();
    let mut packed_bytes = Vec::new();
    packed::pack(&positions, &mut packed_bytes);
    let mut group = c.benchmark_group("packed list of 512");
    group.throughput(Throughput::Elements(512));
    group.bench_function("pack", |b| {
        b.iter(|| {
            packed_bytes.clear();
            packed::pack(black_box(&positions), &mut packed_bytes);
        });
    });
    group.bench_function("unpack", |b| {
        b.iter(|| packed::unpack(black_box(&packed_bytes)).expect("it was packed"));
    });
    group.finish();
}

criterion_group!(benches, codecs);
criterion_main!(benches);
