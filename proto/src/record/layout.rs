//! How a record's bytes are laid out: self-contained given its position, which its place in the log tells.
//!
//! A record is its kind, its flags, the fields that the flags announce, and the fact's own fields. Numbers are varints;
//! positions are distances below the record's own; text or a body comes last and takes the rest, so that it needs no
//! length. A record has one form only. Length and checksum stand outside, in the log's frame. `docs/format.md` has the
//! whole of it.

use super::{Fact, Fanout, Kind, Mode, Role, Settings};

/// The numbers of the facts. They are never given to another fact; 0 is no fact, so that zeroed bytes are no record.
pub(super) mod number {
    pub(in crate::record) const USER: u8 = 1;
    pub(in crate::record) const CONVERSATION: u8 = 2;
    pub(in crate::record) const DEVICE: u8 = 3;
    pub(in crate::record) const REVOKE: u8 = 4;
    pub(in crate::record) const MESSAGE: u8 = 5;
    pub(in crate::record) const EDIT: u8 = 6;
    pub(in crate::record) const RECALL: u8 = 7;
    pub(in crate::record) const CREATE: u8 = 8;
    pub(in crate::record) const ADD: u8 = 9;
    pub(in crate::record) const REMOVE: u8 = 10;
    pub(in crate::record) const JOIN: u8 = 11;
    pub(in crate::record) const LEAVE: u8 = 12;
    pub(in crate::record) const ROLE: u8 = 13;
    pub(in crate::record) const SETTINGS: u8 = 14;
    pub(in crate::record) const MODE: u8 = 15;
    pub(in crate::record) const READ: u8 = 16;
    pub(in crate::record) const MUTE: u8 = 17;
    pub(in crate::record) const EPOCH: u8 = 18;
}

/// What a record's second byte announces. Bits without a name are zero.
pub(super) mod flag {
    pub(in crate::record) const BY_SERVICE: u8 = 1;
    pub(in crate::record) const AUTHOR: u8 = 1 << 1;
    pub(in crate::record) const DEVICE: u8 = 1 << 2;
    pub(in crate::record) const CONVERSATION: u8 = 1 << 3;
    pub(in crate::record) const SEQ: u8 = 1 << 4;
    pub(in crate::record) const ALL: u8 = (1 << 5) - 1;
}

/// What a message's first byte announces.
pub(super) mod message_flag {
    pub(in crate::record) const SENT_AT: u8 = 1;
    pub(in crate::record) const QUOTE: u8 = 1 << 1;
    pub(in crate::record) const MENTIONS: u8 = 1 << 2;
    pub(in crate::record) const ALL: u8 = (1 << 3) - 1;
}

/// A conversation's settings in one byte: two flags, and the fan-out in the two bits above them.
pub(super) mod settings_bits {
    pub(in crate::record) const OPEN: u8 = 1;
    pub(in crate::record) const HISTORY: u8 = 1 << 1;
    pub(in crate::record) const FANOUT_SHIFT: u32 = 2;
}

/// The number of a fact.
pub(super) const fn number_of(fact: &Fact) -> u8 {
    match fact {
        Fact::User { .. } => number::USER,
        Fact::Conversation { .. } => number::CONVERSATION,
        Fact::Device { .. } => number::DEVICE,
        Fact::Revoke { .. } => number::REVOKE,
        Fact::Message(_) => number::MESSAGE,
        Fact::Edit { .. } => number::EDIT,
        Fact::Recall { .. } => number::RECALL,
        Fact::Create { .. } => number::CREATE,
        Fact::Add { .. } => number::ADD,
        Fact::Remove { .. } => number::REMOVE,
        Fact::Join => number::JOIN,
        Fact::Leave => number::LEAVE,
        Fact::Role { .. } => number::ROLE,
        Fact::Settings(_) => number::SETTINGS,
        Fact::Mode(_) => number::MODE,
        Fact::Read { .. } => number::READ,
        Fact::Mute { .. } => number::MUTE,
        Fact::Epoch { .. } => number::EPOCH,
    }
}

pub(super) const fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Direct => 1,
        Kind::Group => 2,
        Kind::Channel => 3,
    }
}

pub(super) const fn role_byte(role: Role) -> u8 {
    match role {
        Role::Member => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

pub(super) const fn mode_byte(mode: Mode) -> u8 {
    match mode {
        Mode::Write => 1,
        Mode::Read => 2,
    }
}

pub(super) const fn settings_byte(settings: Settings) -> u8 {
    let fanout: u8 = match settings.fanout {
        Fanout::Auto => 0,
        Fanout::Write => 1,
        Fanout::Read => 2,
    };
    let open = if settings.open { settings_bits::OPEN } else { 0 };
    let history = if settings.history { settings_bits::HISTORY } else { 0 };
    open | history | fanout << settings_bits::FANOUT_SHIFT
}
