//! `highwater serve`

use super::{FAILED, exit_code, fail};
use clap::ValueEnum;
use highwater_server::config::{Config, DurabilityName, Overrides};
use highwater_server::{Server, StartError};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

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
    match runtime() {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => fail(FAILED, format!("the system gives no threads: {error}")),
    }
}

/// The threads that serve connections; reads of the store and the engine's own threads come on top.
///
/// On two processors one thread does more than two: the engine wants the other one, and tasks that never change threads
/// are woken without a system call.
fn runtime() -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut builder = match processors {
        0..=2 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if processors > 2 {
        builder.worker_threads(processors - 1);
    }
    builder.enable_all().build()
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
