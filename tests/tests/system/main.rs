//! The whole system: the real server as a process of its own, the client library and `hw`, over real QUIC on loopback.
//!
//! Every test has a server in a directory of its own. Nothing of the engine is linked here: what these tests know, a
//! user can know.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod bench;
mod cli;
mod devices;
mod exactly_once;
mod fixture;
mod peer;
mod readers;
mod restarts;
mod tokens;
mod wrong_input;
