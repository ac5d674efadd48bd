//! `hw`: Highwater's command line.
//!
//! - [`args`]: what may be written; [`failure`]: errors and exit codes; [`output`], [`json`], [`text`]: what is printed.
//! - [`connect`]: which server, and as whom; [`command`]: what each command does.
//! - [`replay`]: plays a data set and verifies what arrives; [`sample`]: makes one up; [`mod@bench`]: loads a server and
//!   measures it; [`crowd`]: what they share.

mod args;
mod bench;
mod command;
mod connect;
mod crowd;
mod failure;
mod json;
mod output;
mod random;
mod replay;
mod sample;
mod text;

use crate::args::Cli;
use crate::failure::Failure;
use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A command line that cannot be read says all the same in which form its error is wanted.
    let json = std::env::args_os().any(|argument| argument == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error, json),
    };
    log();
    let json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.exit())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io(format!("no runtime: {error}")))?;
    let result = runtime.block_on(command::run(cli));
    // Nothing that still runs there is waited for.
    runtime.shutdown_background();
    result
}

/// Help and version are asked for; everything else is a mistake.
fn misused(error: &clap::Error, json: bool) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !asked_for {
        let message = error.render().to_string();
        let failure = Failure::usage(message.trim().trim_start_matches("error: "));
        failure.report(true);
        return ExitCode::from(failure.exit());
    }
    // That nobody reads it is no reason to fail differently.
    let _ = error.print();
    if asked_for { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Logs go to standard error, for those who ask for them by the environment's HIGHWATER_LOG.
fn log() {
    let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("HIGHWATER_LOG") else { return };
    // Reporting on standard error that standard error cannot be written would panic.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();
}
