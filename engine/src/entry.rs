//! What readers get: records with names in place of ids and redactions applied, and the pages they come in.

use crate::log::Kept;
use bytes::Bytes;
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::id::{Position, Seq};
use highwater_proto::record::{Kind, Role, Settings};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in the log.
    pub position: Position,
    /// The conversation, or empty.
    pub conversation: Arc<str>,
    /// Number in the conversation; zero where it has none.
    pub seq: Seq,
    /// The author, or empty for the service.
    pub from: Arc<str>,
    /// The author's device, or empty.
    pub device: Arc<str>,
    /// When it was sequenced, in ms since 1970.
    pub time_ms: u64,
    /// Made by the service.
    pub by_service: bool,
    /// What happened.
    pub what: What,
    /// Where its encoded form is shared, if it is.
    pub common: Common,
}

/// The place for an entry's encoded form, where that is the same for all readers.
///
/// An entry has one if its record is in memory and if it shows the record as it was written, with names for ids: not
/// redacted, and not cut down to what concerns its reader. What such an entry says is a function of the record alone,
/// so whoever encodes it first does so for everybody. Entries that are equal may have one or not.
#[derive(Clone)]
pub struct Common(Option<Kept>);

impl Common {
    /// No place: the form is the reader's own.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The record's place in memory.
    pub(crate) const fn of(kept: Kept) -> Self {
        Self(Some(kept))
    }

    /// The place, to be filled with the bytes that the entry encodes to, always in the same form. They stay as long as
    /// the record is in memory, and are to have a buffer of their own.
    pub fn encoded(&self) -> Option<&OnceLock<Bytes>> {
        self.0.as_ref().map(Kept::encoded)
    }
}

impl Default for Common {
    fn default() -> Self {
        Self::none()
    }
}

/// Where bytes are kept is no part of what an entry says.
impl PartialEq for Common {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Common {}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Common")
    }
}

/// What an [`Entry`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of highwater_proto::record::Fact, with names for ids")]
pub enum What {
    Message {
        sent_at_ms: Option<u64>,
        quote: Option<Seq>,
        mentions: Vec<Arc<str>>,
        body: Body,
    },
    Create {
        kind: Kind,
        settings: Settings,
        owner: Option<Arc<str>>,
        members: Vec<Arc<str>>,
    },
    Add {
        members: Vec<Arc<str>>,
    },
    Remove {
        members: Vec<Arc<str>>,
    },
    Join {
        user: Arc<str>,
    },
    Leave {
        user: Arc<str>,
    },
    Role {
        user: Arc<str>,
        role: Role,
    },
    Settings(Settings),
    /// The body is `None` if the message was recalled since.
    Edit {
        target: Seq,
        body: Option<Bytes>,
    },
    Recall {
        target: Seq,
    },
    Read {
        through: Seq,
    },
    Mute {
        muted: bool,
    },
    Revoke {
        device: Arc<str>,
    },
    User {
        user: Arc<str>,
    },
}

/// A message's body as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// As it was sent.
    Original(Bytes),
    /// The newest replacement that the reader may see, and when it was made (ms since 1970).
    Edited(Bytes, u64),
    /// Withdrawn.
    Recalled,
}

/// Where a reading device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a checkpoint that came with a delta.
    Checkpoint(Checkpoint),
    /// Nowhere: everything from the start is wanted.
    Beginning,
    /// Nowhere, or it wants to start anew: a snapshot is wanted.
    Snapshot,
}

/// From where a page is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first page of what a device has missed.
    Start(Start),
    /// The page after the one that came with this cursor; after one that was `caught_up`, what is new since.
    Next(Cursor),
}

/// How much a delta may hold. A value of 0 or above the limit means the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncLimits {
    /// Records.
    pub records_max: usize,
    /// Bytes of bodies; one record always fits.
    pub bytes_max: usize,
    /// Messages per conversation in the whole catch-up, above which older ones collapse into a gap; 0: no gaps.
    pub per_conversation_max: u64,
}

/// Where a catch-up stands between its pages: valid for one session, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to here was answered.
    pub(crate) after: Position,
    /// What was visible at the first page.
    pub(crate) through: Position,
    /// Of a snapshot: the last conversation answered.
    pub(crate) snapshot: Option<SnapshotCursor>,
}

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotCursor {
    /// Why it is sent.
    pub(crate) reason: ResetReason,
    /// The last conversation answered; zero before the first.
    pub(crate) after: highwater_proto::id::ConversationId,
}

/// A page of a catch-up, with its records as entries or in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<R = Entry> {
    /// Covers the positions above this,
    pub from: Position,
    /// up to and including this.
    pub to: Position,
    /// The checkpoint at `to`; `None` on all but the last page of a snapshot.
    pub checkpoint: Option<Checkpoint>,
    /// Whether nothing above `to` was visible when it was made.
    pub caught_up: bool,
    /// In position order.
    pub records: Vec<R>,
    /// Messages left out.
    pub gaps: Vec<Gap>,
    /// Set on every page of a snapshot.
    pub reset: Option<ResetReason>,
    /// A snapshot's conversations.
    pub conversations: Vec<ConversationView>,
    /// For the next page. It stays valid when `caught_up`: later it answers with what is new.
    pub next: Cursor,
}

/// Messages `from_seq..=to_seq` of a conversation that were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The conversation.
    pub conversation: Arc<str>,
    /// The first.
    pub from_seq: Seq,
    /// The last.
    pub to_seq: Seq,
}

/// Why a device starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// It asked to.
    Requested,
    /// The checkpoint is of another history: everything held is to be dropped.
    Incarnation,
    /// The checkpoint names records that were lost in an unclean stop.
    Epoch,
    /// The checkpoint is below what is kept.
    Horizon,
}

impl ResetReason {
    /// The stable name, for example `incarnation`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResetReason::Requested => "requested",
            ResetReason::Incarnation => "incarnation",
            ResetReason::Epoch => "epoch",
            ResetReason::Horizon => "horizon",
        }
    }
}

/// A conversation as one of its members, present or past, sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationView {
    /// Its name.
    pub conversation: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// The member's role; `None` for a former member.
    pub role: Option<Role>,
    /// The last seq that the member may see; zero if none.
    pub head: Seq,
    /// The read mark.
    pub read: Seq,
    /// Messages not read, in the last interval.
    pub unread: u64,
    /// Muted by the member.
    pub muted: bool,
    /// Readable seqs, ascending, both ends included.
    pub ranges: Vec<(Seq, Seq)>,
    /// The last record that the member may see.
    pub last: Option<Entry>,
}

/// A page of the user's conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationPage {
    /// By last visible record, the most recent first.
    pub conversations: Vec<ConversationView>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<Position>,
    /// Unread messages over all current conversations that are not muted.
    pub unread_total: u64,
}

/// Which part of a conversation is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRange {
    /// The newest.
    Newest,
    /// Below this seq, the nearest.
    Before(Seq),
    /// Above this seq, the nearest.
    After(Seq),
}

/// A member of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The user.
    pub user: Arc<str>,
    /// The role.
    pub role: Role,
    /// Readable seqs, ascending, both ends included.
    pub ranges: Vec<(Seq, Seq)>,
}

/// A page of a conversation's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPage {
    /// Current members, in the order of their ids. Followers of a channel see themselves only.
    pub members: Vec<MemberView>,
    /// How many current members there are.
    pub count: u64,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<highwater_proto::id::UserId>,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its name.
    pub device: Arc<str>,
    /// Its last accepted number.
    pub client_seq: u64,
    /// Position of its acknowledged checkpoint; zero: none.
    pub position: Position,
    /// When it was last connected, in ms since 1970; 0: unknown.
    pub last_seen_ms: u64,
}
