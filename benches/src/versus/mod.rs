//! The same job done by Redis Streams, PostgreSQL, NATS JetStream and Highwater, over the network.

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    Ok(Report::new("versus", Machine::here(&context.out)))
}

/// What the program starts as a process of its own: `highwater-bench child PROGRAM ARGUMENTS...`.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    Err(format!("nothing is called {arguments:?}").into())
}
