//! `highwater verify`

use super::{DAMAGED, FAILED, fail, print};
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
    let mut out = format!("log: {} segments, {} frames, {} records\n", report.segments, report.frames, report.records);
    out.push_str(&format!("last position: {} of epoch {}\n", report.last, report.epoch));
    out.push_str(&format!("index: consistent with position {}\n", report.applied));
    if report.is_torn {
        out.push_str("an unfinished write stands behind the log's end, as after a crash; that is no damage\n");
    }
    if report.is_sound() {
        out.push_str("sound\n");
        return print(&out).map_or_else(|error| fail(FAILED, error), |()| ExitCode::SUCCESS);
    }
    for finding in &report.findings {
        out.push_str(&format!("damaged: {finding}\n"));
    }
    if !report.is_compared {
        out.push_str("log and index were not compared in full, because of the damage\n");
    }
    // That the findings cannot be handed over makes the store no sounder.
    if let Err(error) = print(&out) {
        return fail(DAMAGED, format!("the store in {} is damaged; {error}", arguments.data.display()));
    }
    fail(DAMAGED, format!("the store in {} is damaged", arguments.data.display()))
}
