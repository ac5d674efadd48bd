//! The subcommands. Data goes to standard output, everything else to standard error.

pub(crate) mod inspect;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod verify;

use highwater_server::StartError;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// It failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

/// The store is damaged.
const DAMAGED: u8 = 5;

/// Says on standard error why it ends, in one sentence.
fn fail(code: u8, error: impl Display) -> ExitCode {
    // That nobody reads it is no reason to fail differently.
    let _ = writeln!(io::stderr(), "highwater: {error}");
    ExitCode::from(code)
}

/// Hands over what was written to standard output. A reader that went away, or a full disk, is an error like others.
fn print(data: &str) -> Result<(), String> {
    let mut output = io::stdout().lock();
    output.write_all(data.as_bytes()).and_then(|()| output.flush()).map_err(|error| format!("standard output: {error}"))
}

/// The exit code for a server that does not start.
fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Config(_) => USAGE,
        _ => FAILED,
    }
}
