//! What a benchmark does, as a file says it: who there is, what they send, how fast and for how long.
//!
//! `docs/bench-workload.md` describes every field. Names that are not known are refused, so that a misspelt one is not
//! silently left at its default.

use super::fields::{Fields, missing, whole};
use crate::failure::Failure;
use crate::random::Random;
use highwater_client::Fanout;
use highwater_proto::limits::BODY_BYTES_CONFIGURABLE_MAX;
use serde_json::Value;
use std::path::Path;

/// Bytes at the beginning of every body by which its readers know it: the run's mark and the sender's time.
pub(super) const STAMP_BYTES: usize = 16;

const USERS_MAX: usize = 1_000_000;
const DEVICES_ONLINE_MAX: usize = 20_000;
const SENDERS_MAX: usize = 10_000;
const GROUP_KINDS_MAX: usize = 64;
const GROUPS_MAX: usize = 1_000_000;
/// Members of all groups together.
const SEATS_MAX: usize = 20_000_000;
const WEIGHT_MIN: f64 = 1e-6;
const WEIGHT_MAX: f64 = 1e6;
const PEERS_MAX: usize = 1_000;
const BODY_SIZES_MAX: usize = 64;
const IN_FLIGHT_MAX: usize = 65_536;
const RATE_MIN: f64 = 0.1;
const RATE_MAX: f64 = 10_000_000.0;
const SECONDS_MIN: f64 = 0.1;
const SECONDS_MAX: f64 = 86_400.0;
const MESSAGES_MAX: u64 = 1_000_000_000;
const AWAY_MS_MAX: u64 = 600_000;
const SOCKETS_MAX: usize = 256;

/// A workload whose every value is within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Workload {
    /// Decides whatever is chosen at random.
    pub(super) seed: u64,
    /// Users in all.
    pub(super) users: usize,
    /// Devices that are connected and read what is new as it comes.
    pub(super) devices_online: usize,
    /// Kinds of groups.
    pub(super) groups: Vec<GroupKind>,
    /// Messages between two users.
    pub(super) direct: Option<Direct>,
    /// How long bodies are.
    pub(super) body_bytes: Vec<Size>,
    /// Devices that send, each of another user.
    pub(super) senders: usize,
    /// Most sends of one sender that are not acknowledged.
    pub(super) in_flight: usize,
    /// Sends per second of all senders together; `None`: each sends as soon as it may.
    pub(super) rate_per_second: Option<f64>,
    /// When the sends end.
    pub(super) length: Length,
    /// For how long sends are not measured, at first.
    pub(super) warmup_seconds: f64,
    /// Readers that go away and come back.
    pub(super) reconnect: Option<Reconnect>,
    /// Sockets that all connections share.
    pub(super) sockets: usize,
}

/// Groups of one size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupKind {
    pub(super) members: usize,
    pub(super) count: usize,
    /// Share of the messages to groups that goes to these, against the others' weights.
    pub(super) weight: f64,
    pub(super) fanout: Option<Fanout>,
}

/// Messages between two users.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Direct {
    /// Share of all messages.
    pub(super) share: f64,
    /// Others that a sender writes to.
    pub(super) peers: usize,
}

/// A length of bodies, and its share against the others' weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) bytes: usize,
    pub(super) weight: f64,
}

/// When the sends end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Length {
    Seconds(f64),
    Messages(u64),
}

/// Every so often, so many of the readers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reconnect {
    pub(super) every_seconds: f64,
    pub(super) share: f64,
    pub(super) away_ms: u64,
}

impl Workload {
    /// Reads a file: JSON if its name ends so or its text begins so, else TOML.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::usage(format!("{}: {message}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let is_json = path.extension().is_some_and(|ending| ending == "json") || text.trim_start().starts_with('{');
        Self::parse(&text, is_json).map_err(wrong)
    }

    pub(super) fn parse(text: &str, is_json: bool) -> Result<Self, String> {
        let value: Value = if is_json {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?
        };
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Self, String> {
        const KNOWN: [&str; 14] = [
            "seed",
            "users",
            "devices_online",
            "groups",
            "direct",
            "body_bytes",
            "senders",
            "in_flight",
            "rate_per_second",
            "seconds",
            "messages",
            "warmup_seconds",
            "reconnect",
            "sockets",
        ];
        let mut fields = Fields::of(value, "", &KNOWN)?;
        let users = fields.count("users", 2, USERS_MAX)?.ok_or_else(|| missing("users"))?;
        let groups = fields.list("groups", GROUP_KINDS_MAX)?;
        let groups = (0usize..).zip(groups).map(|(place, value)| GroupKind::from_value(value, place, users));
        let workload = Self {
            seed: fields.whole("seed", 0, u64::MAX)?.unwrap_or(1),
            users,
            devices_online: fields
                .count("devices_online", 0, DEVICES_ONLINE_MAX)?
                .unwrap_or(users.min(DEVICES_ONLINE_MAX)),
            groups: groups.collect::<Result<_, _>>()?,
            direct: fields.take("direct").map(|value| Direct::from_value(value, users)).transpose()?,
            body_bytes: sizes(fields.take("body_bytes"))?,
            senders: fields.count("senders", 1, users.min(SENDERS_MAX))?.unwrap_or(1),
            in_flight: fields.count("in_flight", 1, IN_FLIGHT_MAX)?.unwrap_or(16),
            rate_per_second: fields.number("rate_per_second", RATE_MIN, RATE_MAX)?,
            length: length(&mut fields)?,
            warmup_seconds: fields.number("warmup_seconds", 0.0, SECONDS_MAX)?.unwrap_or(0.0),
            reconnect: fields.take("reconnect").map(Reconnect::from_value).transpose()?,
            sockets: fields.count("sockets", 1, SOCKETS_MAX)?.unwrap_or(16),
        };
        workload.check()?;
        Ok(workload)
    }

    /// What no field can be blamed for alone.
    fn check(&self) -> Result<(), String> {
        if self.groups.is_empty() && self.direct.is_none() {
            return Err("there is nobody to write to: give groups, direct, or both".to_owned());
        }
        let count: usize = self.groups.iter().map(|kind| kind.count).sum();
        if count > GROUPS_MAX {
            return Err(format!("groups: the counts add up to {count}; {GROUPS_MAX} are the most"));
        }
        let seats: usize = self.groups.iter().map(|kind| kind.count.saturating_mul(kind.members)).sum();
        if seats > SEATS_MAX {
            return Err(format!("groups: members × count add up to {seats}; {SEATS_MAX} are the most"));
        }
        if self.direct.is_none() && seats < self.senders {
            return Err(format!("senders is {}, but all groups together have room for {seats}", self.senders));
        }
        Ok(())
    }

    /// The longest body.
    pub(super) fn body_bytes_max(&self) -> usize {
        self.body_bytes.iter().map(|size| size.bytes).max().unwrap_or(0)
    }
}

impl GroupKind {
    fn from_value(value: Value, place: usize, users: usize) -> Result<Self, String> {
        let path = format!("groups[{place}]");
        let mut fields = Fields::of(value, &path, &["members", "count", "weight", "fanout"])?;
        let name = fields.name("members");
        Ok(Self {
            members: fields.count("members", 1, users)?.ok_or_else(|| missing(&name))?,
            count: fields.count("count", 1, GROUPS_MAX)?.unwrap_or(1),
            weight: fields.number("weight", WEIGHT_MIN, WEIGHT_MAX)?.unwrap_or(1.0),
            fanout: match fields.take("fanout") {
                None => None,
                Some(Value::String(fanout)) if fanout == "auto" => Some(Fanout::Auto),
                Some(Value::String(fanout)) if fanout == "write" => Some(Fanout::Write),
                Some(Value::String(fanout)) if fanout == "read" => Some(Fanout::Read),
                Some(other) => {
                    return Err(format!("{path}.fanout is {other}; \"auto\", \"write\" or \"read\" is expected"));
                }
            },
        })
    }
}

impl Direct {
    fn from_value(value: Value, users: usize) -> Result<Self, String> {
        let mut fields = Fields::of(value, "direct", &["share", "peers"])?;
        let peers_max = PEERS_MAX.min(users - 1);
        Ok(Self {
            share: fields.number("share", 0.0, 1.0)?.ok_or_else(|| missing("direct.share"))?,
            peers: fields.count("peers", 1, peers_max)?.unwrap_or(peers_max.min(10)),
        })
    }
}

impl Reconnect {
    fn from_value(value: Value) -> Result<Self, String> {
        let mut fields = Fields::of(value, "reconnect", &["every_seconds", "share", "away_ms"])?;
        let every = fields.number("every_seconds", SECONDS_MIN, SECONDS_MAX)?;
        Ok(Self {
            every_seconds: every.ok_or_else(|| missing("reconnect.every_seconds"))?,
            share: fields.number("share", 0.0, 1.0)?.unwrap_or(1.0),
            away_ms: fields.whole("away_ms", 0, AWAY_MS_MAX)?.unwrap_or(0),
        })
    }
}

/// One length, or several with their weights.
fn sizes(value: Option<Value>) -> Result<Vec<Size>, String> {
    const DEFAULT: usize = 200;
    let bytes = |value: &Value, name: &str| {
        whole(value, name, STAMP_BYTES as u64, BODY_BYTES_CONFIGURABLE_MAX as u64).map(|bytes| bytes as usize)
    };
    match value {
        None => Ok(vec![Size { bytes: DEFAULT, weight: 1.0 }]),
        Some(Value::Array(list)) if (1..=BODY_SIZES_MAX).contains(&list.len()) => {
            let size = |(place, value)| {
                let mut fields = Fields::of(value, &format!("body_bytes[{place}]"), &["bytes", "weight"])?;
                let name = fields.name("bytes");
                let given = fields.take("bytes").ok_or_else(|| missing(&name))?;
                let weight = fields.number("weight", WEIGHT_MIN, WEIGHT_MAX)?.unwrap_or(1.0);
                Ok(Size { bytes: bytes(&given, &name)?, weight })
            };
            (0usize..).zip(list).map(size).collect()
        }
        Some(Value::Array(list)) => {
            Err(format!("body_bytes has {} entries; 1 to {BODY_SIZES_MAX} are possible", list.len()))
        }
        Some(value) => Ok(vec![Size { bytes: bytes(&value, "body_bytes")?, weight: 1.0 }]),
    }
}

fn length(fields: &mut Fields) -> Result<Length, String> {
    const DEFAULT_SECONDS: f64 = 10.0;
    let seconds = fields.number("seconds", SECONDS_MIN, SECONDS_MAX)?;
    let messages = fields.whole("messages", 1, MESSAGES_MAX)?;
    match (seconds, messages) {
        (Some(_), Some(_)) => {
            Err("seconds and messages are both given; one of them says when the sends end".to_owned())
        }
        (_, Some(messages)) => Ok(Length::Messages(messages)),
        (seconds, None) => Ok(Length::Seconds(seconds.unwrap_or(DEFAULT_SECONDS))),
    }
}

/// Chooses among things that have weights.
#[derive(Clone, Debug)]
pub(super) struct Weighted<T> {
    /// Each with the sum of the weights up to and including its own.
    items: Vec<(f64, T)>,
}

impl<T> Weighted<T> {
    /// Of at least one thing; weights are above 0.
    pub(super) fn new(items: impl IntoIterator<Item = (f64, T)>) -> Self {
        let mut sum = 0.0;
        let summed = items.into_iter().map(|(weight, item)| {
            sum += weight;
            (sum, item)
        });
        Self { items: summed.collect() }
    }

    /// Whether there is nothing to choose.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One of them; `None` if there is none.
    pub(super) fn pick(&self, random: &mut Random) -> Option<&T> {
        let (sum, last) = self.items.last()?;
        let at = random.fraction() * sum;
        let place = self.items.partition_point(|(up_to, _)| *up_to <= at);
        Some(self.items.get(place).map_or(last, |(_, item)| item))
    }
}

#[cfg(test)]
mod tests;
