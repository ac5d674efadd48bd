//! What a server is started with: the configuration file and the command line, merged and checked.
//!
//! Nothing is guessed outside development mode: a missing certificate or key is an error that names the option. Paths in
//! the file are relative to the file.

mod file;

use crate::auth::TokenKeys;
use crate::limits::ConnectionLimits;
use file::File;
use highwater_engine::options::{Durability, FanoutThresholds, Options};
use highwater_proto::error::Error;
use highwater_proto::limits::{BODY_BYTES_CONFIGURABLE_MAX, Limits};
use serde::Deserialize;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The UDP port that is taken when none is given.
pub const DEFAULT_PORT: u16 = 4747;
/// The audience of tokens when none is configured, and in development mode.
pub const DEFAULT_AUDIENCE: &str = "highwater";
/// Time between syncs with `durability = "crash"`, unless configured.
const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command line or the configuration file is wrong; the message says what to give.
    #[error("{0}")]
    Config(String),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and on which file or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] Error),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

impl StartError {
    pub(crate) fn io(what: String, source: io::Error) -> Self {
        Self::Io { what, source }
    }
}

/// Everything a server is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The UDP address.
    pub listen: SocketAddr,
    /// Certificate and token keys.
    pub security: Security,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// Limits of the engine.
    pub limits: Limits,
    /// Limits of the server.
    pub connections: ConnectionLimits,
    /// When conversations change their fan-out.
    pub fanout: FanoutThresholds,
    /// How long a peer may keep the server waiting.
    pub timeouts: Timeouts,
}

/// Where certificate and token keys come from.
#[derive(Clone, Debug)]
pub enum Security {
    /// The server makes them under `DIR/dev`; users come into being when named. Loopback only.
    Development,
    /// They are given.
    Configured {
        /// PEM file with the certificate chain, the server's own first.
        certificate: PathBuf,
        /// PEM file with its private key.
        private_key: PathBuf,
        /// Public keys by which tokens are checked.
        tokens: TokenKeys,
    },
}

/// How long a peer may keep the server waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first packet to the end of the TLS handshake.
    pub handshake: Duration,
    /// From there to the first frame.
    pub hello: Duration,
    /// Without any packet. Clients send keep-alives.
    pub idle: Duration,
    /// For a query to come in, and for its answer to be taken.
    pub query: Duration,
    /// For sessions to end when the server drains.
    pub drain: Duration,
    /// An empty delta moves a quiet device's checkpoint on after so long.
    pub quiet: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            hello: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            query: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            quiet: Duration::from_secs(30),
        }
    }
}

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config FILE`
    pub config: Option<PathBuf>,
    /// `--data DIR`
    pub data: Option<PathBuf>,
    /// `--listen ADDR`
    pub listen: Option<SocketAddr>,
    /// `--max-body BYTES`
    pub body_bytes_max: Option<usize>,
    /// `--durability power|crash`
    pub durability: Option<DurabilityName>,
    /// `--dev`
    pub dev: bool,
}

/// Durability as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityName {
    /// Synced before it is acknowledged.
    Power,
    /// Written before it is acknowledged, synced at intervals.
    Crash,
}

impl Config {
    /// A server in development mode with the recommended limits.
    pub fn dev(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            security: Security::Development,
            durability: Durability::Power,
            limits: Limits::default(),
            connections: ConnectionLimits::default(),
            fanout: Options::default().fanout,
            timeouts: Timeouts::default(),
        }
    }

    /// Merges the command line with the configuration file that it names.
    pub fn load(overrides: Overrides) -> Result<Self, StartError> {
        let (file, base) = match &overrides.config {
            Some(path) => (file::read(path)?, path.parent().unwrap_or(Path::new("")).to_owned()),
            None => (File::default(), PathBuf::new()),
        };
        let data = overrides
            .data
            .or(file.data.map(|data| base.join(data)))
            .ok_or_else(|| config("there is no data directory: give --data DIR, or data in the configuration file"))?;
        let durability = file::durability(overrides.durability.or(file.durability), file.sync_interval_ms)?;
        let mut limits = file.limits.engine();
        limits.body_bytes_max = overrides.body_bytes_max.unwrap_or(limits.body_bytes_max);
        let connections = file.limits.connections();
        check_limits(&limits, &connections)?;
        let given = overrides.listen.or(file.listen);
        let (listen, security) = if overrides.dev {
            let listen = given.unwrap_or((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
            if file.certificate.is_some() || file.private_key.is_some() || !file.tokens.keys.is_empty() {
                return Err(config(
                    "--dev makes its own certificate and keys: leave out certificate, private_key and tokens.keys",
                ));
            }
            (listen, Security::Development)
        } else {
            let listen = given.unwrap_or((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into());
            (listen, file::configured(file.certificate, file.private_key, file.tokens, &base)?)
        };
        let config = Self {
            data,
            listen,
            security,
            durability,
            limits,
            connections,
            fanout: file.fanout.thresholds()?,
            timeouts: file.timeouts.timeouts()?,
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses what must not be started, however the configuration was made.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if matches!(self.security, Security::Development) && !self.listen.ip().is_loopback() {
            return Err(config(format!(
                "--dev listens on loopback only, not on {}: its signing key is meant for nobody else; \
                 give --listen 127.0.0.1:PORT, or a certificate and token keys in place of --dev",
                self.listen
            )));
        }
        check_limits(&self.limits, &self.connections)
    }

    /// How the engine is to be opened.
    pub(crate) fn engine_options(&self) -> Options {
        Options {
            durability: self.durability,
            limits: self.limits.clone(),
            fanout: self.fanout,
            create_named_users: matches!(self.security, Security::Development),
            ..Options::default()
        }
    }
}

fn config(message: impl Into<String>) -> StartError {
    StartError::Config(message.into())
}

fn check_limits(limits: &Limits, connections: &ConnectionLimits) -> Result<(), StartError> {
    if limits.body_bytes_max == 0 || limits.body_bytes_max > BODY_BYTES_CONFIGURABLE_MAX {
        return Err(config(format!(
            "body_bytes_max (--max-body) is {}; 1 to {BODY_BYTES_CONFIGURABLE_MAX} bytes are possible",
            limits.body_bytes_max
        )));
    }
    let positive = [
        ("devices_per_user_max", limits.devices_per_user_max),
        ("members_per_conversation_max", limits.members_per_conversation_max),
        ("conversations_per_user_max", limits.conversations_per_user_max),
        ("commands_in_flight_max", limits.commands_in_flight_max),
        ("queue_bytes_max", limits.queue_bytes_max),
        ("names_max", limits.names_max),
        ("member_rows_max", limits.member_rows_max),
        ("connections_max", connections.connections_max),
        ("unauthenticated_max", connections.unauthenticated_max),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(config(format!("limits.{name} is 0; at least 1 is needed")));
    }
    if limits.commands_in_flight_max > 65_536 {
        return Err(config("limits.commands_in_flight_max is at most 65536"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
