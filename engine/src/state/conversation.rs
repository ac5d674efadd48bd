//! A conversation's row, its members' rows, and what a member's intervals let it see.

use super::Changed;
use highwater_proto::id::{Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Kind, Mode, Role, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A conversation.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) settings: Settings,
    /// Who created it; zero for the service.
    pub(crate) creator: UserId,
    /// The last seq.
    pub(crate) head: Seq,
    /// Position of the record with the last seq.
    pub(crate) head_position: Position,
    /// Messages so far.
    pub(crate) ordinal: Ordinal,
    pub(crate) mode: Mode,
    /// Time of the record that set the mode, in ms since 1970.
    pub(crate) mode_since_ms: u64,
    /// The last record with a seq that was written in read mode; zero if none was.
    pub(crate) last_read_mode: Position,
    /// Ordinals of recalled messages, ascending.
    pub(crate) recalled: Vec<Ordinal>,
    /// Members present and past.
    pub(crate) members: BTreeMap<UserId, Member>,
    /// Current members, ascending.
    pub(crate) active: Vec<UserId>,
    /// Whether the row differs from the store.
    pub(crate) changed: Changed,
}

/// A user in a conversation.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// `None` for a former member.
    pub(crate) role: Option<Role>,
    /// When it was a member, ascending; only the last one may be open.
    pub(crate) intervals: Vec<Interval>,
    /// The read mark.
    pub(crate) read: Seq,
    /// The read mark's ordinal.
    pub(crate) read_ordinal: Ordinal,
    /// Ordinal of the last message of its own.
    pub(crate) own_last: Ordinal,
    pub(crate) muted: bool,
    /// Whether the row differs from the store.
    pub(crate) changed: Changed,
}

/// A time of membership: what lies in it may be seen. Both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// `position`: of the record that began it. `seq`: the first that may be seen. `ordinal`: of what came before it.
    pub(crate) joined: Mark,
    /// `position`: of the record that ended it. `seq`, `ordinal`: the last that may be seen.
    pub(crate) left: Option<Mark>,
}

/// A place in a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: Position,
    pub(crate) seq: Seq,
    pub(crate) ordinal: Ordinal,
}

impl Interval {
    /// Whether a record at this position lies in it.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.joined.position <= position && self.left.is_none_or(|left| position <= left.position)
    }

    /// Whether a record with this seq lies in it.
    pub(crate) fn holds_seq(&self, seq: Seq) -> bool {
        self.joined.seq <= seq && self.left.is_none_or(|left| seq <= left.seq)
    }
}

/// What the row says: it stands in the canonical dump.
impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, intervals, read, read_ordinal, own_last, muted, changed: _ } = self;
        f.debug_struct("Member")
            .field("role", role)
            .field("intervals", intervals)
            .field("read", read)
            .field("read_ordinal", read_ordinal)
            .field("own_last", own_last)
            .field("muted", muted)
            .finish()
    }
}

impl Member {
    /// Whether it is a member now.
    pub(crate) fn is_current(&self) -> bool {
        self.role.is_some()
    }

    /// Whether a record at this position lies in one of its intervals: what sync goes by.
    pub(crate) fn may_sync(&self, position: Position) -> bool {
        self.intervals.iter().rev().any(|interval| interval.holds(position))
    }
}

impl Conversation {
    /// Its row: everything but the members, who have rows of their own.
    pub(crate) fn without_members(&self) -> Self {
        Self {
            members: BTreeMap::new(),
            active: Vec::new(),
            name: self.name.clone(),
            recalled: self.recalled.clone(),
            ..*self
        }
    }

    /// Whether `member` may read the record with this seq: its intervals and, while it is a member and the settings
    /// allow that, what came before the first one.
    pub(crate) fn may_read(&self, member: &Member, seq: Seq) -> bool {
        let before_first = || member.intervals.first().is_some_and(|first| seq < first.joined.seq);
        member.intervals.iter().rev().any(|interval| interval.holds_seq(seq))
            || (self.settings.history && member.is_current() && before_first())
    }

    /// Readable seqs, ascending, both ends included, empty ranges left out and touching ones joined.
    pub(crate) fn readable(&self, member: &Member) -> Vec<(Seq, Seq)> {
        let mut ranges: Vec<(Seq, Seq)> = Vec::new();
        let mut push = |first: Seq, last: Seq| {
            if first > last {
                return;
            }
            match ranges.last_mut() {
                Some(previous) if previous.1.next() >= first => previous.1 = previous.1.max(last),
                _ => ranges.push((first, last)),
            }
        };
        if let (true, Some(first)) = (self.settings.history && member.is_current(), member.intervals.first()) {
            push(Seq(1), Seq(first.joined.seq.0.saturating_sub(1)));
        }
        for interval in &member.intervals {
            push(interval.joined.seq, interval.left.map_or(self.head, |left| left.seq));
        }
        ranges
    }
}
