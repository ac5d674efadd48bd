//! Backpressure from end to end: a disk that takes its time slows senders down, and costs neither memory nor messages.
//!
//! The disk is real but for one thing: the test decides when a sync of the log returns. What is slow here is thus
//! exactly known, and no clock is waited for. A process of its own, since its memory is looked at.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod engine;
mod gate;
mod network;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Longer than anything here takes on a busy machine; what takes longer will never come.
const PATIENCE: Duration = Duration::from_secs(60);

/// One test at a time: each looks at the memory of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has said so; the others go on.
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Memory that is this process's own, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}
