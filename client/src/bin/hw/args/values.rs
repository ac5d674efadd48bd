//! Values that options take: words of the command line, and what they stand for.

use clap::ValueEnum;
use highwater_proto::record::{Fanout, Kind, Role};

/// How many users a replay verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyUsers {
    All,
    Some(usize),
}

impl VerifyUsers {
    /// Reads a number from 1, or `all`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        match text.parse() {
            Ok(0) | Err(_) => Err("a number from 1, or all".to_owned()),
            Ok(count) => Ok(Self::Some(count)),
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        matches!(switch, Switch::On)
    }
}

/// A kind of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    Direct,
    Group,
    Channel,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Direct => Kind::Direct,
            KindArg::Group => Kind::Group,
            KindArg::Channel => Kind::Channel,
        }
    }
}

/// A role.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    Owner,
    Admin,
    Member,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Owner => Role::Owner,
            RoleArg::Admin => Role::Admin,
            RoleArg::Member => Role::Member,
        }
    }
}

/// How new messages are fanned out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FanoutArg {
    Auto,
    Write,
    Read,
}

impl From<FanoutArg> for Fanout {
    fn from(fanout: FanoutArg) -> Self {
        match fanout {
            FanoutArg::Auto => Fanout::Auto,
            FanoutArg::Write => Fanout::Write,
            FanoutArg::Read => Fanout::Read,
        }
    }
}
