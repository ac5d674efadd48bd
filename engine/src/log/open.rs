//! Opening: deciding where the log ends, and after an unclean stop making durable what is kept of it.

use super::disk::{Disk, DiskFile};
use super::fence::Fence;
use super::segment::Segment;
use super::sidecar::Sidecar;
use super::space::Space;
use super::survey::{Part, Survey, survey};
use super::tail::Tail;
use super::writer::{FILES_MAX, TABLES_MAX};
use super::{LogOptions, LogReader, LogSpace, LogWriter, Opened, Shared, corrupt, io_error, names, read_start};
use crate::sync::{Mutex, RwLock};
use highwater_proto::error::Error;
use highwater_proto::frame::{End, FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, Scan, SegmentHeader};
use highwater_proto::frame::{decide, scan};
use highwater_proto::id::{Epoch, Position};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

/// Opens a log, or makes an empty one.
///
/// `applied`: the index claims that everything up to here was synced. `corrupt` if something is damaged or missing
/// that was durable; nothing was changed then. Everything that an opened log holds is durable.
pub(crate) fn open(disk: Arc<dyn Disk>, options: LogOptions, applied: Position) -> Result<Opened, Error> {
    disk.prepare().map_err(|error| io_error("make", "the directory", &error))?;
    let mut found = survey(disk.as_ref())?;
    let Some(newest) = found.parts.pop() else {
        if !applied.is_zero() {
            let what =
                format!("the log is empty, but the index says that everything up to position {applied} was synced");
            return Err(corrupt(&names::segment(Position(1), Epoch(1)), 0, Position(1), what));
        }
        remove_leftovers(disk.as_ref(), &found.leftovers)?;
        let segment = make_segment(disk.as_ref(), Position(1), Epoch(1), &[])?;
        return finish(
            disk,
            options,
            vec![segment],
            Fence { epoch: Epoch(1), position: Position::ZERO, is_clean: false },
            false,
        );
    };
    let mut segments = Vec::with_capacity(found.parts.len() + 2);
    for part in &found.parts {
        segments.push(open_sealed(disk.as_ref(), part)?);
    }
    let (scanned, bytes) = scan_part(&newest)?;
    let claimed = found.fence.map_or(Position::ZERO, |fence| fence.position);
    let end = decide(&scanned, claimed, applied)
        .map_err(|found| corrupt(&newest.name, found.offset, found.position, found.what))?;
    remove_leftovers(disk.as_ref(), &found.leftovers)?;
    let is_unclean = !was_closed(&found, &newest, &end);
    let mut epoch = newest.header.epoch;
    if is_unclean {
        epoch = epoch.next();
        segments.extend(recover(disk.as_ref(), newest, scanned, &bytes, &end, epoch)?);
    } else {
        let Part { name, header, file, .. } = newest;
        segments.push(Segment::new(name, header, file, scanned.records, scanned.end as u32));
    }
    finish(disk, options, segments, Fence { epoch, position: end.last, is_clean: false }, is_unclean)
}

/// Whether the log was closed where it ends, or made and never used.
fn was_closed(found: &Survey, newest: &Part, end: &End) -> bool {
    let header = newest.header;
    match found.fence {
        Some(fence) => fence.is_clean && fence.epoch == header.epoch && fence.position == end.last && !end.is_torn,
        None => header.epoch == Epoch(1) && end.last.is_zero() && !end.is_torn,
    }
}

/// Takes over a log whose segments are all durable. The fence is replaced first: from here on it is not closed.
fn finish(
    disk: Arc<dyn Disk>,
    options: LogOptions,
    mut segments: Vec<Segment>,
    fence: Fence,
    unclean: bool,
) -> Result<Opened, Error> {
    let count = segments.len();
    for (index, segment) in segments.iter_mut().enumerate() {
        if index + TABLES_MAX + 1 < count {
            segment.forget_offsets();
        }
        if index + FILES_MAX < count {
            segment.forget_file();
        }
    }
    fence.write(disk.as_ref()).map_err(|error| io_error("write", names::FENCE, &error))?;
    let newest = segments.last().expect("a log has a segment");
    let file = newest.file(disk.as_ref())?;
    let allocated = file.bytes().map_err(|error| io_error("measure", &newest.name, &error))?;
    let space = Space::new(file, newest.name.clone(), newest.end(), allocated);
    let tail = Tail::new(options.tail_bytes_max);
    let segments = RwLock::new(segments.into_iter().map(Arc::new).collect());
    let shared =
        Arc::new(Shared { disk, options, segments, space: Mutex::new(space), counters: Default::default(), tail });
    Ok(Opened {
        reader: LogReader { shared: shared.clone() },
        space: LogSpace { shared: shared.clone() },
        writer: LogWriter::new(shared, fence)?,
        last: fence.position,
        epoch: fence.epoch,
        unclean,
    })
}

/// A segment that others follow. It was synced as a whole, so that its sidecar is believed; without one it is read.
fn open_sealed(disk: &dyn Disk, part: &Part) -> Result<Segment, Error> {
    let Part { name, header, file, .. } = part;
    let last = part.last().expect("a segment that others follow ends where the next one begins");
    if let Some(sidecar) = Sidecar::open(disk, name, *header)
        && header.first.0 + u64::from(sidecar.count) == last.0 + 1
    {
        return Ok(Segment::sealed(name.clone(), *header, file.clone(), sidecar.count, sidecar.end));
    }
    let (scanned, _) = scan_part(part)?;
    let (records, end) = cut_at(part, scanned, last)?;
    let segment = Segment::new(name.clone(), *header, file.clone(), records, end);
    segment.write_sidecar(disk);
    Ok(segment)
}

/// What counts of a segment up to `last`: the offsets of its records, and where they end. `corrupt` if it does not
/// have them all.
pub(super) fn cut_at(part: &Part, scanned: Scan, last: Position) -> Result<(Vec<u32>, u32), Error> {
    if scanned.last() < last {
        let what = match &scanned.bad {
            Some(damage) => {
                format!("{damage}, but a newer segment says that everything up to position {last} was synced")
            }
            None => format!("the records up to position {last} are missing, perhaps a whole segment"),
        };
        return Err(corrupt(&part.name, scanned.end, scanned.last().next(), what));
    }
    let cut = scanned.frames.iter().find(|frame| frame.header.last() > last);
    if let Some(frame) = cut.filter(|frame| frame.header.first <= last) {
        let what = format!("a newer segment begins within the frame, at position {}", last.next());
        return Err(corrupt(&part.name, frame.offset, frame.header.first, what));
    }
    let end = cut.map_or(scanned.end, |frame| frame.offset) as u32;
    let mut records = scanned.records;
    records.truncate((last.0 + 1 - scanned.header.first.0) as usize);
    Ok((records, end))
}

/// Reads a whole segment.
pub(super) fn scan_part(part: &Part) -> Result<(Scan, Vec<u8>), Error> {
    let failed = |error: io::Error| io_error("read", &part.name, &error);
    let length = part.file.bytes().map_err(failed)?.min(u64::from(u32::MAX));
    let bytes = read_start(part.file.as_ref(), length).map_err(failed)?;
    Ok((scan(part.header, &bytes), bytes))
}

/// Copies the frames that are not known to be durable to a new segment of the raised epoch, durably. Returns what is
/// left of the old one, if anything, and the new one.
fn recover(
    disk: &dyn Disk,
    old: Part,
    scanned: Scan,
    bytes: &[u8],
    end: &End,
    epoch: Epoch,
) -> Result<Vec<Segment>, Error> {
    let keeps = scanned.frames.partition_point(|frame| frame.header.last() <= end.synced);
    let first = scanned.frames.get(keeps).map_or(end.last.next(), |frame| frame.header.first);
    let synced = Position(first.0 - 1);
    let frames: Vec<(FrameHeader, &[u8])> = scanned.frames[keeps..]
        .iter()
        .map(|frame| {
            let from = frame.offset as usize + FRAME_HEADER_BYTES;
            let payload = &bytes[from..from + frame.header.length as usize];
            (FrameHeader::new(frame.header.first, frame.header.count, payload, epoch, synced), payload)
        })
        .collect();
    let made = make_segment(disk, first, epoch, &frames)?;
    if first == old.header.first {
        // Nothing of the old one counts any more; the next opening would find the same.
        remove_leftovers(disk, &[names::sidecar(&old.name), old.name])?;
        return Ok(vec![made]);
    }
    let (records, end) = cut_at(&old, scanned, synced)?;
    let kept = Segment::new(old.name, old.header, old.file, records, end);
    kept.write_sidecar(disk);
    Ok(vec![kept, made])
}

/// Makes a segment that holds these frames: visible only once it is durable.
fn make_segment(
    disk: &dyn Disk,
    first: Position,
    epoch: Epoch,
    frames: &[(FrameHeader, &[u8])],
) -> Result<Segment, Error> {
    let header = SegmentHeader { first, epoch, salt: new_salt() };
    let mut bytes = header.encode().to_vec();
    let mut records = Vec::new();
    for (frame, payload) in frames {
        bytes.extend_from_slice(&frame.encode(header.salt));
        bytes.extend_from_slice(payload);
    }
    let scanned = scan(header, &bytes);
    debug_assert_eq!(scanned.bad, None);
    records.extend_from_slice(&scanned.records);
    let name = names::segment(first, epoch);
    let temporary = names::temporary(&name);
    let made = || -> io::Result<Arc<dyn DiskFile>> {
        let file = disk.create(&temporary)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(&temporary, &name)?;
        disk.sync_dir()?;
        Ok(file)
    };
    let file = made().map_err(|error| io_error("make", &name, &error))?;
    let end = bytes.len().max(SEGMENT_HEADER_BYTES) as u32;
    Ok(Segment::new(name, header, file, records, end))
}

/// Files that mean nothing any more. Should a crash bring them back, the next opening removes them again.
fn remove_leftovers(disk: &dyn Disk, names: &[String]) -> Result<(), Error> {
    names.iter().try_for_each(|name| match disk.remove(name) {
        // A sidecar that was written meanwhile took it over.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| io_error("remove", name, &error)),
    })
}

/// A segment's salt: random, without asking the system each time.
pub(super) fn new_salt() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
