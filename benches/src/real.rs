//! Data sets replayed in process at full speed.

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    Ok(Report::new("real", Machine::here(&context.out)))
}

/// What the program starts as a process of its own: `highwater-bench child PROGRAM ARGUMENTS...`.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    Err(format!("nothing is called {arguments:?}").into())
}
