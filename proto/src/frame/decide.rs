//! Torn or corrupt? A pure decision over the newest segment and what others claim.

use super::scan::Scan;
use crate::id::Position;
use std::fmt;

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The last position.
    pub last: Position,
    /// Where its frame ends, in bytes from the newest segment's beginning.
    pub offset: u64,
    /// Everything up to here is known to be durable; at most `last`.
    pub synced: Position,
    /// Whether bytes that were never known to be durable stand behind the end.
    pub is_torn: bool,
}

/// Something that was durable cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Where, in bytes from the segment's beginning.
    pub offset: u64,
    /// The first position that cannot be read.
    pub position: Position,
    /// Everything up to here was durable.
    pub claimed: Position,
    /// Who says so, and what is wrong.
    pub what: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}, position {}: {}", self.offset, self.position, self.what)
    }
}

/// Decides where the log ends, given its newest segment, how far the fence says that it was synced, and how far the
/// index says so.
///
/// A bad place (or the end of the frames) below any of these claims, or below that of a later frame, is corruption.
pub fn decide(scan: &Scan, fence: Position, applied: Position) -> Result<End, Corruption> {
    let last = scan.last();
    let later = scan.later.map_or(Position::ZERO, |later| later.synced);
    let (claimed, who) = [(fence, "the fence"), (applied, "the index"), (later, "a later frame")]
        .into_iter()
        .max_by_key(|(claimed, _)| *claimed)
        .expect("there are three claims");
    if claimed > last {
        let wrong = match (&scan.bad, scan.later) {
            (Some(damage), Some(later)) => format!("{damage} (a later frame stands at offset {})", later.offset),
            (Some(damage), None) => damage.to_string(),
            (None, _) => format!("the log ends at position {last}"),
        };
        return Err(Corruption {
            offset: scan.end,
            position: last.next(),
            claimed,
            what: format!("{wrong}, but {who} says that everything up to position {claimed} was synced"),
        });
    }
    // Good frames claim less than their own positions, and the segment's header what stands before the segment.
    let before = Position(scan.header.first.0.saturating_sub(1));
    let within = scan.frames.last().map_or(before, |frame| frame.header.synced);
    Ok(End { last, offset: scan.end, synced: claimed.max(before).max(within), is_torn: scan.bad.is_some() })
}
