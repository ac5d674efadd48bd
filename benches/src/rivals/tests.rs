//! What is compared with must do its job: an answer means that it is there, for every member, in order.

use super::{Expert, Post, RawLog, Shape, Tables, Tuning};
use crate::store::drive;
use highwater_engine::options::Durability;
use std::time::{Duration, Instant};

fn post(number: u64) -> Post {
    Post { author: 1, conversation: 7, members: vec![1, 2, 3].into(), body: vec![b'x'; 100 + number as usize].into() }
}

#[test]
fn every_member_catches_up_with_what_was_sent() {
    let expert = Tuning::Expert(Expert { memtable_bytes: 4 << 20, is_compressed: true });
    let until = Instant::now() + Duration::from_secs(60);
    for (shape, tuning) in [Shape::Index, Shape::Inline].into_iter().flat_map(|s| [(s, Tuning::Ordinary), (s, expert)])
    {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tables = Tables::open(directory.path(), shape, tuning).expect("it opens");
        let driven = drive(8, 50, until, |number, done| tables.submit(post(number), done)).expect("they are written");
        assert_eq!((driven.count, driven.latencies.count()), (50, 50));
        tables.settle().expect("it flushes");
        let written = tables.written();
        assert!(written.log > 0 && written.flushed > 0, "{written:?}");
        drop(tables);
        let tables = Tables::open(directory.path(), shape, tuning).expect("it opens again");
        for user in [1, 2, 3] {
            let all = tables.catch_up(user, 0, 1_000).expect("it reads");
            assert_eq!((all.records, all.bytes), (50, (100..150).sum::<u64>()), "{shape:?} {tuning:?}");
            assert_eq!(tables.catch_up(user, 40, 1_000).expect("it reads").records, 10);
        }
        assert_eq!(tables.catch_up(4, 0, 1_000).expect("it reads").records, 0);
    }
}

#[test]
fn a_raw_log_holds_what_it_acknowledged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = RawLog::open(directory.path(), Durability::Power).expect("it opens");
    let until = Instant::now() + Duration::from_secs(60);
    drive(4, 20, until, |number, done| log.submit(post(number), done)).expect("they are written");
    assert!(log.bytes() > 20 * 100);
    drop(log);
    let bytes = std::fs::read(directory.path().join("log")).expect("it is there");
    assert!(bytes.windows(119).any(|window| window == [b'x'; 119]), "the last body is in the file");
}
