//! `highwater`: the server's command line.

mod commands;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What a session allocates, another thread of the engine often frees: the system's allocator takes a quarter more CPU
/// for each message. It also serves RocksDB.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A timeline server for chats, feeds and notifications.
#[derive(Parser)]
#[command(name = "highwater", version)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Serves clients until it is told to stop (SIGTERM or SIGINT)
    Serve(commands::serve::Arguments),
    /// Prints a signed token
    Token(commands::token::Arguments),
    /// Checks a store that no server has open: log, index, and that they agree
    Verify(commands::verify::Arguments),
    /// Shows what a store holds, as it stands on disk
    Inspect(commands::inspect::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Subcommands::Serve(arguments) => commands::serve::run(arguments),
        Subcommands::Token(arguments) => commands::token::run(arguments),
        Subcommands::Verify(arguments) => commands::verify::run(&arguments),
        Subcommands::Inspect(arguments) => commands::inspect::run(&arguments),
    }
}
