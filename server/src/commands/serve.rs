//! `highwater serve`

use super::{FAILED, exit_code, fail};
use clap::ValueEnum;
use highwater_server::config::{Config, DurabilityName, Overrides};
use highwater_server::{Server, StartError};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Threads that serve connections; reads of the store and the engine's own threads come on top.
const WORKER_THREADS: usize = 2;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The UDP address [default: 127.0.0.1:4747 with --dev, else 0.0.0.0:4747]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The configuration file (docs/operating.md)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Longest body of a message
    #[arg(long, value_name = "BYTES")]
    max_body: Option<usize>,
    /// What an acknowledged message survives: a power cut, or the end of the process
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Makes certificate and signing key under DIR; loopback only
    #[arg(long)]
    dev: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Durability {
    Power,
    Crash,
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A log that cannot be written is no reason to end: reporting that on the same standard error would panic.
        .log_internal_errors(false)
        .init();
    let overrides = Overrides {
        config: arguments.config,
        data: arguments.data,
        listen: arguments.listen,
        body_bytes_max: arguments.max_body,
        durability: arguments.durability.map(|durability| match durability {
            Durability::Power => DurabilityName::Power,
            Durability::Crash => DurabilityName::Crash,
        }),
        dev: arguments.dev,
    };
    let config = match Config::load(overrides) {
        Ok(config) => config,
        Err(error) => return fail(exit_code(&error), error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => fail(FAILED, format!("the system gives no threads: {error}")),
    }
}

async fn serve(config: Config) -> ExitCode {
    // Before anything is opened, so that a signal never ends the process half way.
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(FAILED, format!("signals cannot be waited for: {error}")),
    };
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => return fail(exit_code(&error), error),
    };
    if let Err(error) = say_ready(&server) {
        // Whoever started it went away; the server is of use to others all the same.
        tracing::warn!(%error, "nobody reads standard output");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = server.failed() => {
            tracing::error!(%error, "the store failed; restart the server once the cause is gone");
            // At once: nothing that is in memory may be written any more.
            std::process::exit(i32::from(FAILED));
        }
    }
    match server.shutdown().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, StartError::Store(error)),
    }
}

fn say_ready(server: &Server) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "ready {}", server.local_address())?;
    output.flush()
}
