//! What a delivered entry costs to write and to read, by members, body and strategy.

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    Ok(Report::new("amplification", Machine::here(&context.out)))
}
