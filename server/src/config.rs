//! What a server is started with: the configuration file and the command line, merged and checked.
//!
//! Nothing is guessed outside development mode: a missing certificate or key is an error that names the option. Paths in
//! the file are relative to the file.

use crate::auth::{TokenKeys, TokenKeysError};
use crate::limits::ConnectionLimits;
use highwater_engine::options::{Durability, FanoutThresholds, Options};
use highwater_proto::error::Error;
use highwater_proto::limits::{BODY_BYTES_CONFIGURABLE_MAX, Limits, WRITE_MEMBERS_MAX};
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    durability: Option<DurabilityName>,
    sync_interval_ms: Option<u64>,
    tokens: FileTokens,
    limits: FileLimits,
    timeouts: FileTimeouts,
    fanout: FileFanout,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileTokens {
    audience: Option<String>,
    keys: Vec<FileTokenKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTokenKey {
    kid: String,
    public_key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    body_bytes_max: Option<usize>,
    devices_per_user_max: Option<usize>,
    members_per_conversation_max: Option<usize>,
    conversations_per_user_max: Option<usize>,
    commands_in_flight_max: Option<usize>,
    queue_bytes_max: Option<usize>,
    names_max: Option<usize>,
    member_rows_max: Option<usize>,
    connections_max: Option<usize>,
    unauthenticated_max: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileTimeouts {
    handshake_ms: Option<u64>,
    hello_ms: Option<u64>,
    idle_ms: Option<u64>,
    query_ms: Option<u64>,
    drain_ms: Option<u64>,
    quiet_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileFanout {
    write_members_max: Option<usize>,
    read_members_min: Option<usize>,
    dwell_ms_min: Option<u64>,
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
            Some(path) => (read(path)?, path.parent().unwrap_or(Path::new("")).to_owned()),
            None => (File::default(), PathBuf::new()),
        };
        let data = overrides
            .data
            .or(file.data.map(|data| base.join(data)))
            .ok_or_else(|| config("there is no data directory: give --data DIR, or data in the configuration file"))?;
        let durability = durability(overrides.durability.or(file.durability), file.sync_interval_ms)?;
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
            (listen, configured(file.certificate, file.private_key, file.tokens, &base)?)
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

fn read(path: &Path) -> Result<File, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| config(format!("cannot read the configuration file {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        config(format!("{}, line {line}: {}", path.display(), error.message().replace('\n', " ")))
    })
}

fn durability(name: Option<DurabilityName>, sync_interval_ms: Option<u64>) -> Result<Durability, StartError> {
    match name {
        Some(DurabilityName::Crash) => {
            let sync_interval = positive("sync_interval_ms", sync_interval_ms, DEFAULT_SYNC_INTERVAL)?;
            Ok(Durability::Crash { sync_interval })
        }
        _ if sync_interval_ms.is_some() => Err(config("sync_interval_ms goes with durability = \"crash\" only")),
        _ => Ok(Durability::Power),
    }
}

fn configured(
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    tokens: FileTokens,
    base: &Path,
) -> Result<Security, StartError> {
    let missing = |what: &str, option: &str| {
        config(format!(
            "there is no {what}: give {option} in the file named by --config, or --dev to try things out on loopback"
        ))
    };
    let certificate = certificate.ok_or_else(|| missing("certificate", "certificate = \"FILE.pem\""))?;
    let private_key = private_key.ok_or_else(|| missing("private key", "private_key = \"FILE.pem\""))?;
    if tokens.keys.is_empty() {
        return Err(missing("key to check tokens with", "[[tokens.keys]] with kid and public_key"));
    }
    let audience = tokens.audience.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned());
    let mut keys = TokenKeys::new(audience);
    for FileTokenKey { kid, public_key } in tokens.keys {
        let path = base.join(public_key);
        let pem = std::fs::read(&path)
            .map_err(|error| config(format!("cannot read the token key {}: {error}", path.display())))?;
        keys.add(kid, &pem).map_err(|error| match error {
            TokenKeysError::Malformed => config(format!("{} is no Ed25519 public key in PEM form", path.display())),
            TokenKeysError::Twice(kid) => config(format!("tokens.keys has the kid {kid:?} twice")),
        })?;
    }
    Ok(Security::Configured { certificate: base.join(certificate), private_key: base.join(private_key), tokens: keys })
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

fn positive(name: &str, given_ms: Option<u64>, default: Duration) -> Result<Duration, StartError> {
    /// A day: longer deadlines are none.
    const MS_MAX: u64 = 86_400_000;
    match given_ms {
        None => Ok(default),
        Some(ms) if (1..=MS_MAX).contains(&ms) => Ok(Duration::from_millis(ms)),
        Some(ms) => Err(config(format!("{name} is {ms}; 1 to {MS_MAX} ms are possible"))),
    }
}

impl FileLimits {
    fn engine(&self) -> Limits {
        let default = Limits::default();
        Limits {
            body_bytes_max: self.body_bytes_max.unwrap_or(default.body_bytes_max),
            devices_per_user_max: self.devices_per_user_max.unwrap_or(default.devices_per_user_max),
            members_per_conversation_max: self
                .members_per_conversation_max
                .unwrap_or(default.members_per_conversation_max),
            conversations_per_user_max: self.conversations_per_user_max.unwrap_or(default.conversations_per_user_max),
            commands_in_flight_max: self.commands_in_flight_max.unwrap_or(default.commands_in_flight_max),
            queue_bytes_max: self.queue_bytes_max.unwrap_or(default.queue_bytes_max),
            names_max: self.names_max.unwrap_or(default.names_max),
            member_rows_max: self.member_rows_max.unwrap_or(default.member_rows_max),
        }
    }

    fn connections(&self) -> ConnectionLimits {
        let default = ConnectionLimits::default();
        ConnectionLimits {
            connections_max: self.connections_max.unwrap_or(default.connections_max),
            unauthenticated_max: self.unauthenticated_max.unwrap_or(default.unauthenticated_max),
        }
    }
}

impl FileTimeouts {
    fn timeouts(&self) -> Result<Timeouts, StartError> {
        let default = Timeouts::default();
        Ok(Timeouts {
            handshake: positive("timeouts.handshake_ms", self.handshake_ms, default.handshake)?,
            hello: positive("timeouts.hello_ms", self.hello_ms, default.hello)?,
            idle: positive("timeouts.idle_ms", self.idle_ms, default.idle)?,
            query: positive("timeouts.query_ms", self.query_ms, default.query)?,
            drain: positive("timeouts.drain_ms", self.drain_ms, default.drain)?,
            quiet: positive("timeouts.quiet_ms", self.quiet_ms, default.quiet)?,
        })
    }
}

impl FileFanout {
    fn thresholds(&self) -> Result<FanoutThresholds, StartError> {
        let default = Options::default().fanout;
        let fanout = FanoutThresholds {
            write_members_max: self.write_members_max.unwrap_or(default.write_members_max),
            read_members_min: self.read_members_min.unwrap_or(default.read_members_min),
            dwell_ms_min: self.dwell_ms_min.unwrap_or(default.dwell_ms_min),
        };
        if fanout.read_members_min > fanout.write_members_max {
            return Err(config("fanout.read_members_min is above fanout.write_members_max"));
        }
        if fanout.write_members_max > WRITE_MEMBERS_MAX {
            return Err(config(format!("fanout.write_members_max is at most {WRITE_MEMBERS_MAX}")));
        }
        Ok(fanout)
    }
}

#[cfg(test)]
mod tests;
