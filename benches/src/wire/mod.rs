//! Server and load generator as two processes over QUIC, beside a bare quinn server in the same arrangement: what the
//! engine and its sessions cost above the transport.
//!
//! - `servers`: the processes; `plan`: what the generator is told and answers.
//! - `echo`: the bare server. It answers and pushes frames of the same size, and does nothing else.
//! - `load`: the generator, the same for both, so that only the server differs. It speaks the protocol over quinn itself:
//!   the client library costs at least as much as either server, and would hide their difference.
//! - `tables`: the sizes that are run with it, and the targets. `trial`: one measurement by hand.
//! - `library`: a table with the other generator, `hw bench`, which is the client library: what applications see.

mod echo;
mod lean;
mod library;
mod load;
mod plan;
mod process;
mod servers;
mod tables;
mod trial;

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;
use clap::Parser;
use servers::Programs;
use std::time::Instant;
use tables::Bench;

pub(crate) type Fallible<T> = Result<T, Failure>;

/// The id of a connection's first request. Ids of this size take five bytes, whatever follows.
pub(crate) const FIRST_ID: u64 = 1 << 28;
/// What groups' names begin with.
pub(crate) const GROUP: &str = "g";
/// Connections that share a socket of the generator.
pub(crate) const DEVICES_PER_SOCKET: usize = 100;
/// Sockets of the generator.
pub(crate) const SOCKETS_MAX: usize = 16;
/// Members of a group; more devices make more groups.
pub(crate) const DEVICES_PER_GROUP_MAX: usize = 1_000;

/// The group that a user's name tells.
pub(crate) fn group_of(user: &str) -> &str {
    user.split_once('-').map_or("", |(group, _)| group)
}

/// Runs the program.
///
/// # Errors
/// A server's or `hw`'s binary is missing, or a server or a generator fails.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("wire", Machine::here(&context.out));
    let programs = Programs::find(true)?;
    report.note(match programs.is_pinned() {
        true => "server and load generator are kept on one core each, with one thread for all connections; Highwater's engine has its \
                 threads on the server's core",
        false => "server and load generator share the cores",
    });
    report.note("CPU is user and system time of the server's process, the kernel's work for its packets included");
    report
        .note("the generator's clock ticks once a millisecond: by the clock, what is due within one goes out together");
    report.note("every answer and every record was checked, by both generators: once, and in order");
    let bench = Bench { context, programs, until: Instant::now() + context.budget };
    tables::sends(&bench, &mut report)?;
    tables::pushes(&bench, &mut report)?;
    tables::idle(&bench, &mut report)?;
    library::run(&bench, &mut report)?;
    Ok(report)
}

/// What the program starts as a process of its own: `highwater-bench child wire ARGUMENTS...`; and, for whoever makes the
/// server faster, one measurement by hand: `highwater-bench child wire try --help`.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    let name = "highwater-bench child wire".to_owned();
    match Child::parse_from(std::iter::once(&name).chain(arguments)) {
        Child::Echo(arguments) => echo::run(&arguments),
        Child::Load => load::run(),
        Child::Try(arguments) => trial::run(&arguments),
    }
}

#[derive(Parser)]
enum Child {
    /// The bare server
    Echo(echo::Arguments),
    /// The load generator: a plan on standard input, the outcome on standard output
    Load,
    /// One measurement by hand
    Try(trial::Arguments),
}

#[cfg(test)]
mod tests;
