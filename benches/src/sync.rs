//! What it costs a device to catch up, and to list its conversations.

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    Ok(Report::new("sync", Machine::here(&context.out)))
}
