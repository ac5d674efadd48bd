//! The whole system over real QUIC: server, client library and command lines, in this process and in processes of their
//! own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod fixture;
mod process;
mod readers;
mod sessions;
mod survival;
