//! Scenarios of reading, through the engine.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use crate::state::Conversation;
use highwater_proto::id::{Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Kind, Mode, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group without members whose last record in read mode stands at this position.
pub(super) fn conversation(last_read_mode: Position) -> Conversation {
    Conversation {
        name: Arc::from("group"),
        kind: Kind::Group,
        settings: Settings::default(),
        creator: UserId::ZERO,
        head: Seq::ZERO,
        head_position: Position::ZERO,
        ordinal: Ordinal::ZERO,
        mode: Mode::Write,
        mode_since_ms: 0,
        last_read_mode,
        recalled: Vec::new(),
        members: BTreeMap::new(),
        active: Vec::new(),
    }
}
