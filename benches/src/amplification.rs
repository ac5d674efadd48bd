//! What a delivered entry costs to write and to read, by members, body and strategy.
//!
//! What a strategy has to do sooner or later is counted with it: a measured run ends when what was sent is in the index
//! ([`crate::load::Target::settle`]). Bytes are those that the kernel wrote to the device for this process, beside
//! those that the store itself claims.

mod direct;
mod grid;
mod pull;
mod reading;
mod threshold;
mod two_hundred;

use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::report::Report;
pub(crate) use reading::now;
use std::time::Instant;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("amplification", Machine::here(&context.out));
    // Each part may take its share of the time; what one leaves over is the next one's.
    let end = Instant::now() + context.budget;
    let share = |part: f64| Instant::now() + end.saturating_duration_since(Instant::now()).mul_f64(part);
    direct::run(context, &mut report, share(0.2))?;
    two_hundred::run(context, &mut report, share(0.35))?;
    let reading = reading::run(context, &mut report, share(0.25))?;
    let costs = grid::run(context, &mut report, share(0.95))?;
    threshold::run(&costs, reading, &mut report);
    report.note(
        "Bytes are those of /proc/self/io (pages that this process made the kernel write), settling included; the \
         store's own account counts what it handed to write calls, without the rest of partly filled pages.",
    );
    Ok(report)
}
