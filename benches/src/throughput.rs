//! Durable sends a second and their latency, in process.

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    Ok(Report::new("throughput", Machine::here(&context.out)))
}
