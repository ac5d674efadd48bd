//! `hw replay`: plays a data set through real connections, and verifies what arrives.
//!
//! - [`source`] reads the files, [`plan`] numbers the messages, [`schedule`] decides what may leave when;
//! - [`prepare`] makes the conversations, [`send`] sends, [`verify`] reads everything back and has it compared
//!   ([`compare`]); [`report`] is the result.

mod compare;
mod plan;
mod prepare;
mod progress;
mod report;
mod schedule;
mod send;
pub(crate) mod source;
mod verify;

use crate::args::{self, Global};
use crate::connect::Dev;
use crate::failure::Failure;
use crate::output::Output;
use highwater_client::{Backoff, ClientBuilder, SessionKind};
use plan::Plan;
use progress::Style;
use report::Report;
use source::Source;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A replay gives up when nothing has come from the server for so long.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The sessions of a replay are few, and wait for nothing else than the server's return.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };
/// Most sessions that are held, however many are allowed: each is an open file, of which a process usually has 1,024.
const SESSIONS_MAX: u32 = 900;

/// Connects users, and a service, to a server in dev mode; and says how to tell what they have done.
#[derive(Clone)]
struct Connector {
    dev: Arc<Dev>,
    server: Option<String>,
    progress: Style,
}

impl Connector {
    fn service(&self) -> ClientBuilder {
        self.builder(None, None, SessionKind::Read)
    }

    fn sender(&self, user: &str, device: &str) -> ClientBuilder {
        self.builder(Some(user), Some(device), SessionKind::Send)
    }

    fn reader(&self, user: &str) -> ClientBuilder {
        self.builder(Some(user), None, SessionKind::Read)
    }

    fn builder(&self, user: Option<&str>, device: Option<&str>, kind: SessionKind) -> ClientBuilder {
        self.dev.builder(self.server.as_deref(), user, device, kind).backoff(BACKOFF)
    }
}

/// Plays the set as far as the server does not have it yet, verifies, and prints the report.
pub(crate) async fn run(global: &Global, options: &args::Replay, output: &mut Output) -> Result<(), Failure> {
    let Some(directory) = &global.dev else {
        return Err(Failure::usage(
            "a replay mints its authors' tokens: --dev DIR, the data directory of a server with --dev",
        ));
    };
    let connector = Connector {
        dev: Arc::new(Dev::open(directory)?),
        server: global.server.clone(),
        progress: Style::suitable(global.json),
    };
    let source = Source::read(&options.events, &options.members, options.conversations)?;
    let service = connector.service().connect().await?;
    let limits = service.connected().await?;
    let skipped = source.skipped;
    let plan = Arc::new(Plan::new(source, usize::try_from(limits.body_bytes_max).unwrap_or(usize::MAX)));
    prepare::conversations(&service, &plan, connector.progress).await?;
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
        write(path, &report)?;
    }
    if report.is_good() {
        return Ok(());
    }
    Err(Failure::mismatch(match report.mismatches {
        0 => "nothing was compared".to_owned(),
        count => format!("{count} mismatches, such as: {}", verified.outcome.described.join("; ")),
    }))
}

fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    std::fs::write(path, report.to_json() + "\n").map_err(|error| Failure::io(format!("{}: {error}", path.display())))
}
