//! `hw replay`: plays a data set through real connections, and verifies what arrives.
//!
//! - [`source`] reads the files, [`plan`] numbers the messages, [`schedule`] decides what may leave when;
//! - [`crate::crowd`] makes the conversations, [`send`] sends, [`verify`] reads everything back and has it compared
//!   ([`compare`]); [`report`] is the result.

mod compare;
mod plan;
mod report;
mod schedule;
mod send;
pub(crate) mod source;
mod verify;

use crate::args::{self, Global};
use crate::crowd::progress::Progress;
use crate::crowd::{Connector, groups, write_report};
use crate::failure::Failure;
use crate::output::Output;
use plan::Plan;
use report::Report;
use source::Source;
use std::sync::Arc;

/// Most sessions that are held, however many are allowed: each is an open file, of which a process usually has 1,024.
const SESSIONS_MAX: u32 = 900;

/// Plays the set as far as the server does not have it yet, verifies, and prints the report.
pub(crate) async fn run(global: &Global, options: &args::Replay, output: &mut Output) -> Result<(), Failure> {
    if global.dev.is_none() {
        return Err(Failure::usage(
            "a replay mints its authors' tokens: --dev DIR, the data directory of a server with --dev",
        ));
    }
    let connector = Connector::new(global)?;
    let source = Source::read(&options.events, &options.members, options.conversations)?;
    let service = connector.service().connect().await?;
    let limits = service.connected().await?;
    let skipped = source.skipped;
    let plan = Arc::new(Plan::new(source, usize::try_from(limits.body_bytes_max).unwrap_or(usize::MAX)));
    let described = Arc::clone(&plan);
    let count = plan.source.conversations.len();
    let progress = Progress::new(connector.progress, "conversations", count as u64);
    groups::make(&service, count, move |number| described.group(number), progress).await?;
    service.close().await;

    let sent =
        send::messages(&plan, &connector, options.sessions.min(SESSIONS_MAX) as usize, limits.commands_in_flight_max)
            .await?;
    let mut report = Report {
        messages: plan.len() as u64,
        refused: plan.refused,
        skipped,
        deliveries: plan.deliveries(),
        reconnects: sent.reconnects,
        ..Report::default()
    };
    report.set_times(sent.seconds, sent.latencies_us);
    let verified = verify::verify(&plan, &connector, options.verify_users).await?;
    report.verified_users = verified.users;
    report.compared = verified.outcome.compared;
    report.mismatches = verified.outcome.mismatches;

    output.line(|| report.to_json(), || report.to_string())?;
    output.flush()?;
    if let Some(path) = &options.report {
        write_report(path, &report.to_json())?;
    }
    if report.is_good() {
        return Ok(());
    }
    Err(Failure::mismatch(match report.mismatches {
        0 => "nothing was compared".to_owned(),
        count => format!("{count} mismatches, such as: {}", verified.outcome.described.join("; ")),
    }))
}
