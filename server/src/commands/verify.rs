//! `highwater verify`

use super::{DAMAGED, FAILED, fail};
use highwater_engine::verify::verify;
use highwater_proto::error::Code;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Exit code 0: sound. 5: damaged, with a line for each finding. 1: it could not be told.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let report = match verify(&arguments.data) {
        Ok(report) => report,
        Err(error) if error.code == Code::Corrupt => return fail(DAMAGED, error),
        Err(error) => return fail(FAILED, error),
    };
    println!("log: {} segments, {} frames, {} records", report.segments, report.frames, report.records);
    println!("last position: {} of epoch {}", report.last, report.epoch);
    println!("index: consistent with position {}", report.applied);
    if report.is_torn {
        println!("an unfinished write stands behind the log's end, as after a crash; that is no damage");
    }
    if report.is_sound() {
        println!("sound");
        return ExitCode::SUCCESS;
    }
    for finding in &report.findings {
        println!("damaged: {finding}");
    }
    if !report.is_compared {
        println!("log and index were not compared in full, because of the damage");
    }
    fail(DAMAGED, format!("the store in {} is damaged", arguments.data.display()))
}
