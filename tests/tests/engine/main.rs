//! The engine against its promises: random commands beside a plain model, power cuts, kills, damage and wrong callers.
//!
//! One binary, since each one links RocksDB.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod crash_loop;
mod cuts;
mod devices;
mod faults;
mod fixture;
mod format;
mod limits;
mod live;
mod model;
mod race;
