//! What is in the log's directory, found out without changing it.

use super::disk::{Disk, DiskFile};
use super::fence::Fence;
use super::{corrupt, io_error, names, read_start};
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use highwater_proto::id::{Epoch, Position};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is there.
pub(super) struct Survey {
    /// The fence, if there is one.
    pub(super) fence: Option<Fence>,
    /// The segments that count, ascending.
    pub(super) parts: Vec<Part>,
    /// Files that mean nothing any more: never completed, or superseded by a newer epoch.
    pub(super) leftovers: Vec<String>,
}

/// A segment that counts.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next segment begins: this one counts below. `None` for the newest.
    pub(super) until: Option<Position>,
}

impl Part {
    /// The last position that it has to have, if it is not the newest.
    pub(super) fn last(&self) -> Option<Position> {
        self.until.map(|until| Position(until.0.saturating_sub(1)))
    }
}

/// Looks at all names, the fence and the headers of the segments that count.
///
/// `corrupt` if the fence or one of these headers is damaged, or if the first segment, or all of them, or those of the
/// fence's epoch are missing.
pub(super) fn survey(disk: &dyn Disk) -> Result<Survey, Error> {
    let listed = disk.list().map_err(|error| io_error("list", "the directory", &error))?;
    let fence = Fence::read(disk)?;
    let (chain, superseded) = chain(listed.iter().filter_map(|name| names::parse_segment(name)).collect());
    let mut leftovers: Vec<String> = listed.iter().filter(|name| names::is_temporary(name)).cloned().collect();
    leftovers.extend(superseded.iter().map(|(first, epoch)| names::segment(*first, *epoch)));
    let sidecars: BTreeSet<String> =
        chain.iter().map(|(first, epoch)| names::sidecar(&names::segment(*first, *epoch))).collect();
    leftovers.extend(listed.iter().filter(|name| names::is_sidecar(name) && !sidecars.contains(*name)).cloned());
    check_ends(&chain, fence)?;
    let mut parts = Vec::with_capacity(chain.len());
    for (index, (first, epoch)) in chain.iter().enumerate() {
        let name = names::segment(*first, *epoch);
        let file = disk.open(&name).map_err(|error| io_error("open", &name, &error))?;
        let header = read_header(&name, file.as_ref(), *first, *epoch)?;
        parts.push(Part { name, header, file, until: chain.get(index + 1).map(|(next, _)| *next) });
    }
    Ok(Survey { fence, parts, leftovers })
}

type Names = Vec<(Position, Epoch)>;

/// Parts the segments into those that count, ascending, and those that a newer epoch superseded as a whole.
fn chain(mut segments: Names) -> (Names, Names) {
    segments.sort_by_key(|(first, epoch)| (*epoch, *first));
    let mut counting: Names = Vec::new();
    let mut superseded = Vec::new();
    for (first, epoch) in segments {
        while let Some(behind) = counting.pop_if(|(other, older)| *other >= first && *older < epoch) {
            superseded.push(behind);
        }
        counting.push((first, epoch));
    }
    (counting, superseded)
}

fn check_ends(chain: &Names, fence: Option<Fence>) -> Result<(), Error> {
    let first = Position(1);
    let Some((begins, _)) = chain.first() else {
        return match fence {
            None => Ok(()),
            Some(fence) => {
                let what = format!("all segments are missing; the fence says that there were {}", fence.position);
                Err(corrupt(&names::segment(first, fence.epoch), 0, first, what))
            }
        };
    };
    if *begins != first {
        let what = format!("the first segment is missing; the log begins at position {begins}");
        return Err(corrupt(&names::segment(first, Epoch(1)), 0, first, what));
    }
    let newest = chain.last().map_or(Epoch::ZERO, |(_, epoch)| *epoch);
    match fence {
        Some(fence) if fence.epoch > newest => {
            let what = format!("the segments of epoch {} are missing; the newest are of epoch {newest}", fence.epoch);
            Err(corrupt(names::FENCE, 0, fence.position, what))
        }
        _ => Ok(()),
    }
}

fn read_header(name: &str, file: &dyn DiskFile, first: Position, epoch: Epoch) -> Result<SegmentHeader, Error> {
    let bytes = read_start(file, SEGMENT_HEADER_BYTES as u64).map_err(|error| io_error("read", name, &error))?;
    let header = SegmentHeader::decode(&bytes).map_err(|error| match error.code {
        Code::Corrupt => corrupt(name, 0, first, error.message),
        code => Error::new(code, format!("log file {name}: {}", error.message)),
    })?;
    if (header.first, header.epoch) != (first, epoch) {
        let what = format!("it says that it begins at position {} in epoch {}", header.first, header.epoch);
        return Err(corrupt(name, 0, first, what));
    }
    Ok(header)
}
