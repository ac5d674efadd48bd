//! The configuration file: its form, and what it says in the terms of a [`Config`](super::Config).
//!
//! Unknown names are refused, so that a misspelt option is not silently left at its default.

use super::{DEFAULT_AUDIENCE, DEFAULT_SYNC_INTERVAL, DurabilityName, Security, StartError, Timeouts, config};
use crate::auth::{TokenKeys, TokenKeysError};
use crate::limits::ConnectionLimits;
use highwater_engine::options::{Durability, FanoutCosts, FanoutThresholds, Options};
use highwater_proto::limits::{Limits, WRITE_MEMBERS_MAX};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) data: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) private_key: Option<PathBuf>,
    pub(super) durability: Option<DurabilityName>,
    pub(super) sync_interval_ms: Option<u64>,
    pub(super) tokens: FileTokens,
    pub(super) limits: FileLimits,
    pub(super) timeouts: FileTimeouts,
    pub(super) fanout: FileFanout,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileTokens {
    pub(super) audience: Option<String>,
    pub(super) keys: Vec<FileTokenKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTokenKey {
    kid: String,
    public_key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileLimits {
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
pub(super) struct FileTimeouts {
    handshake_ms: Option<u64>,
    hello_ms: Option<u64>,
    idle_ms: Option<u64>,
    query_ms: Option<u64>,
    drain_ms: Option<u64>,
    quiet_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileFanout {
    write_members_max: Option<usize>,
    read_members_min: Option<usize>,
    dwell_ms_min: Option<u64>,
    by_cost: Option<bool>,
    append_ns: Option<u64>,
    pull_check_ns: Option<u64>,
}

pub(super) fn read(path: &Path) -> Result<File, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| config(format!("cannot read the configuration file {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        config(format!("{}, line {line}: {}", path.display(), error.message().replace('\n', " ")))
    })
}

pub(super) fn durability(
    name: Option<DurabilityName>,
    sync_interval_ms: Option<u64>,
) -> Result<Durability, StartError> {
    match name {
        Some(DurabilityName::Crash) => {
            let sync_interval = positive("sync_interval_ms", sync_interval_ms, DEFAULT_SYNC_INTERVAL)?;
            Ok(Durability::Crash { sync_interval })
        }
        _ if sync_interval_ms.is_some() => Err(config("sync_interval_ms goes with durability = \"crash\" only")),
        _ => Ok(Durability::Power),
    }
}

pub(super) fn configured(
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
    pub(super) fn engine(&self) -> Limits {
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

    pub(super) fn connections(&self) -> ConnectionLimits {
        let default = ConnectionLimits::default();
        ConnectionLimits {
            connections_max: self.connections_max.unwrap_or(default.connections_max),
            unauthenticated_max: self.unauthenticated_max.unwrap_or(default.unauthenticated_max),
        }
    }
}

impl FileTimeouts {
    pub(super) fn timeouts(&self) -> Result<Timeouts, StartError> {
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
    pub(super) fn thresholds(&self) -> Result<FanoutThresholds, StartError> {
        let default = Options::default().fanout;
        let fanout = FanoutThresholds {
            write_members_max: self.write_members_max.unwrap_or(default.write_members_max),
            read_members_min: self.read_members_min.unwrap_or(default.read_members_min),
            dwell_ms_min: self.dwell_ms_min.unwrap_or(default.dwell_ms_min),
            costs: self.by_cost.unwrap_or(default.costs.is_some()).then(|| self.costs()),
        };
        if fanout.read_members_min > fanout.write_members_max {
            return Err(config("fanout.read_members_min is above fanout.write_members_max"));
        }
        if fanout.write_members_max > WRITE_MEMBERS_MAX {
            return Err(config(format!("fanout.write_members_max is at most {WRITE_MEMBERS_MAX}")));
        }
        Ok(fanout)
    }

    fn costs(&self) -> FanoutCosts {
        let default = FanoutCosts::default();
        FanoutCosts {
            append_ns: self.append_ns.unwrap_or(default.append_ns),
            pull_check_ns: self.pull_check_ns.unwrap_or(default.pull_check_ns),
            ..default
        }
    }
}
