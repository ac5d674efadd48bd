//! Looking at a log without opening it: for offline verification and inspection. Nothing is changed.

use super::disk::Disk;
use super::open::{cut_at, scan_part};
use super::sidecar::Sidecar;
use super::survey::{Part, survey};
use super::{corrupt, io_error};
use highwater_proto::error::Error;
use highwater_proto::frame::{Scan, decide, read_record};
use highwater_proto::id::{Epoch, Position};
use highwater_proto::record::Record;

/// A log as it was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The segments that count, ascending.
    pub(crate) segments: Vec<SegmentReport>,
    /// The last position that the log would have if it was opened.
    pub(crate) last: Position,
    /// The epoch of the newest segment.
    pub(crate) epoch: Epoch,
    /// Up to here the fence says that the log was synced; zero without a fence.
    pub(crate) fence: Position,
    /// Whether the fence says that the log was closed.
    pub(crate) is_closed: bool,
    /// Whether bytes that were never known to be durable stand behind the end: no damage.
    pub(crate) is_torn: bool,
    /// Frames that count; a summary leaves out those of segments that it did not read.
    pub(crate) frames: u64,
    /// Records in all.
    pub(crate) records: u64,
    /// Sidecars that are missing or damaged; they are made again when needed.
    pub(crate) sidecars_missing: Vec<String>,
    /// Damage, each naming file, offset and position; empty if the log is sound. Such a log does not open, or does not
    /// serve the records concerned.
    pub(crate) damage: Vec<Error>,
}

/// A segment as it was found.
#[derive(Debug)]
pub(crate) struct SegmentReport {
    /// The file's name.
    pub(crate) name: String,
    /// Position of its first record.
    pub(crate) first: Position,
    /// Position of its last record that counts; the one before `first` if there is none.
    pub(crate) last: Position,
    /// Its epoch.
    pub(crate) epoch: Epoch,
    /// Bytes up to the end of the last frame that counts.
    pub(crate) bytes: u64,
    /// Bytes that the file takes, reserved space included.
    pub(crate) file_bytes: u64,
}

/// Verifies everything: segments, frames, every record, the fence and, with `applied`, the index's claim. Sound records
/// are handed to `each` in order, until the first damage.
///
/// Damage is in the report; an error means that reading was not possible, or that `each` failed.
pub(crate) fn check(
    disk: &dyn Disk,
    applied: Position,
    each: &mut dyn FnMut(Record) -> Result<(), Error>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    if let Err(error) = check_into(disk, applied, each, &mut report) {
        match error.code {
            highwater_proto::error::Code::Corrupt => report.damage.push(error),
            _ => return Err(error),
        }
    }
    Ok(report)
}

/// Segments, sizes and positions, reading only the newest segment and those without a sidecar.
pub(crate) fn summary(disk: &dyn Disk) -> Result<Report, Error> {
    let mut report = Report::default();
    let found = survey(disk)?;
    note_fence(&mut report, &found);
    for part in &found.parts {
        let sidecar = part.last().and_then(|last| {
            Sidecar::open(disk, &part.name, part.header)
                .filter(|sidecar| part.header.first.0 + u64::from(sidecar.count) == last.0 + 1)
        });
        match (sidecar, part.last()) {
            (Some(sidecar), Some(last)) => note_segment(&mut report, part, last, 0, u64::from(sidecar.end))?,
            _ => {
                let (scanned, _) = scan_part(part)?;
                note_scan(&mut report, part, scanned, Position::ZERO)?;
            }
        }
    }
    Ok(report)
}

fn check_into(
    disk: &dyn Disk,
    applied: Position,
    each: &mut dyn FnMut(Record) -> Result<(), Error>,
    report: &mut Report,
) -> Result<(), Error> {
    let found = survey(disk)?;
    note_fence(report, &found);
    if found.parts.is_empty() && !applied.is_zero() {
        let what = format!("the log is empty, but the index says that everything up to position {applied} was synced");
        return Err(corrupt("directory", 0, Position(1), what));
    }
    for part in &found.parts {
        let (scanned, bytes) = scan_part(part)?;
        let decode = |records: &[u32], each: &mut dyn FnMut(Record) -> Result<(), Error>| {
            records.iter().zip(part.header.first.0..).try_for_each(|(offset, position)| {
                let (offset, position) = (*offset as usize, Position(position));
                let (record, _) = read_record(position, &bytes[offset..])
                    .map_err(|damage| corrupt(&part.name, offset as u64, position, damage))?;
                each(record)
            })
        };
        let records = scanned.records.clone();
        let noted = note_scan(report, part, scanned, applied);
        let counting = report.segments.last().filter(|segment| noted.is_ok() && segment.name == part.name);
        let count = counting.map_or(records.len(), |segment| (segment.last.0 + 1 - segment.first.0) as usize);
        decode(&records[..count.min(records.len())], each)?;
        noted?;
        if part.until.is_some() && !Sidecar::open(disk, &part.name, part.header).is_some_and(|found| found.is_sound()) {
            report.sidecars_missing.push(part.name.clone());
        }
    }
    Ok(())
}

fn note_fence(report: &mut Report, found: &super::survey::Survey) {
    if let Some(fence) = found.fence {
        (report.fence, report.is_closed) = (fence.position, fence.is_clean);
    }
}

/// Notes a segment that was read; `corrupt` if it has not all that it should.
fn note_scan(report: &mut Report, part: &Part, scanned: Scan, applied: Position) -> Result<(), Error> {
    let (last, end) = match part.last() {
        Some(last) => (last, None),
        None => {
            let end = decide(&scanned, report.fence, applied)
                .map_err(|found| corrupt(&part.name, found.offset, found.position, found.what))?;
            report.is_torn = end.is_torn;
            (end.last, Some(end.offset))
        }
    };
    let frames = scanned.frames.iter().filter(|frame| frame.header.last() <= last).count() as u64;
    let end = match end {
        Some(end) => end,
        None => u64::from(cut_at(part, scanned, last)?.1),
    };
    note_segment(report, part, last, frames, end)
}

fn note_segment(report: &mut Report, part: &Part, last: Position, frames: u64, bytes: u64) -> Result<(), Error> {
    let file_bytes = part.file.bytes().map_err(|error| io_error("measure", &part.name, &error))?;
    let (first, epoch) = (part.header.first, part.header.epoch);
    report.frames += frames;
    report.records += (last.0 + 1).saturating_sub(first.0);
    (report.last, report.epoch) = (last, epoch);
    report.segments.push(SegmentReport { name: part.name.clone(), first, last, epoch, bytes, file_bytes });
    Ok(())
}
