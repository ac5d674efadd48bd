//! Names of the log's files. Those of segments sort by first position, then epoch.

use highwater_proto::id::{Epoch, Position};

/// Says how far the log was synced.
pub(super) const FENCE: &str = "fence";
/// Space reserved for the next segment.
pub(super) const SPARE: &str = "spare.tmp";

const SEGMENT_SUFFIX: &str = ".seg";
const SIDECAR_SUFFIX: &str = ".idx";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A segment is named by its first position and its epoch.
pub(super) fn segment(first: Position, epoch: Epoch) -> String {
    format!("{:020}-{:010}{SEGMENT_SUFFIX}", first.0, epoch.0)
}

/// The offsets of a sealed segment's records.
pub(super) fn sidecar(segment: &str) -> String {
    format!("{}{SIDECAR_SUFFIX}", segment.strip_suffix(SEGMENT_SUFFIX).unwrap_or(segment))
}

/// Whether it is the name of a sidecar.
pub(super) fn is_sidecar(name: &str) -> bool {
    name.ends_with(SIDECAR_SUFFIX)
}

/// The name that a file has until it is complete. Such files are removed at the next opening.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY_SUFFIX}")
}

/// Whether a file was never completed.
pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY_SUFFIX)
}

/// First position and epoch, if it is the name of a segment.
pub(super) fn parse_segment(name: &str) -> Option<(Position, Epoch)> {
    let (first, epoch) = name.strip_suffix(SEGMENT_SUFFIX)?.split_once('-')?;
    let parsed = (Position(first.parse().ok()?), Epoch(epoch.parse().ok()?));
    (segment(parsed.0, parsed.1) == name).then_some(parsed)
}
