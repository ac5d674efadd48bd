//! Reading records back by position, each verified on every read.

use super::Shared;
use super::segment::{Segment, Span};
use super::tail::{Kept, Run};
use super::{corrupt, io_error};
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::read_record;
use highwater_proto::id::Position;
use highwater_proto::record::Record;
use std::ops::Deref;
use std::sync::Arc;

/// Bytes between two wanted records that are read along rather than skipped by a second read.
const BRIDGE_BYTES: u32 = 4 << 10;
/// Most bytes of one such read; a larger record is read alone.
const READ_BYTES_MAX: u32 = 256 << 10;

/// Reads what was appended, durable or not: whoever asks knows what is visible. Cheap to clone; any thread.
#[derive(Clone)]
pub(crate) struct LogReader {
    pub(super) shared: Arc<Shared>,
}

/// A record that was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// In the tail.
    Kept(Kept),
    /// In a segment.
    Read(Box<Record>),
}

impl LogReader {
    /// The record at a position: `not_found` if there is none, `corrupt` if its bytes are damaged, `io` if they cannot
    /// be read.
    pub(crate) fn read(&self, position: Position) -> Result<Found, Error> {
        let mut records = self.read_many(&[position])?;
        records.pop().ok_or_else(|| self.missing(position))
    }

    /// The records at these positions, which are ascending. Neighbours are read in one go. Errors are those of
    /// [`LogReader::read`]; one record that fails fails all.
    pub(crate) fn read_many(&self, positions: &[Position]) -> Result<Vec<Found>, Error> {
        let mut kept: Vec<Option<Kept>> = Vec::with_capacity(positions.len());
        self.shared.tail.look_up(positions, |found| {
            kept.push(found);
            true
        });
        // The tail has the newest records: what it lacks is as a rule what comes first.
        let mut records = Vec::with_capacity(positions.len());
        let mut found = kept.into_iter().zip(positions).peekable();
        let mut missing: Vec<Position> = Vec::new();
        while let Some((kept, position)) = found.next() {
            match kept {
                Some(kept) => records.push(Found::Kept(kept)),
                None => {
                    missing.clear();
                    missing.push(*position);
                    while let Some((_, position)) = found.next_if(|(kept, _)| kept.is_none()) {
                        missing.push(*position);
                    }
                    self.read_stored(&missing, &mut records)?;
                }
            }
        }
        Ok(records)
    }

    /// The records at these positions, if all of them are in memory.
    pub(crate) fn look_up(&self, positions: &[Position]) -> Option<Vec<Found>> {
        let mut records = Vec::with_capacity(positions.len());
        self.shared.tail.look_up(positions, |kept| {
            let is_here = kept.is_some();
            records.extend(kept.map(Found::Kept));
            is_here
        });
        (records.len() == positions.len()).then_some(records)
    }

    /// Keeps records in memory that were appended, in ascending order from call to call, and gives them back.
    pub(crate) fn keep(&self, records: Vec<Record>) -> Arc<Run> {
        self.shared.tail.keep(records)
    }

    fn read_stored(&self, positions: &[Position], records: &mut Vec<Found>) -> Result<(), Error> {
        let mut rest = positions;
        while let Some(first) = rest.first() {
            let segment = self.segment_of(*first)?;
            let last = segment.last();
            let here = rest.iter().take_while(|position| (*first..=last).contains(position)).count();
            if here == 0 {
                return Err(self.missing(*first));
            }
            self.read_segment(&segment, &rest[..here], records)?;
            rest = &rest[here..];
        }
        Ok(())
    }

    fn missing(&self, position: Position) -> Error {
        let last = self.shared.segments.read().last().map_or(Position::ZERO, |segment| segment.last());
        Error::new(Code::NotFound, format!("position {position} is not in the log, which ends at {last}"))
    }

    /// The segment that has, or would have, a position.
    fn segment_of(&self, position: Position) -> Result<Arc<Segment>, Error> {
        let segments = self.shared.segments.read();
        let above = segments.partition_point(|segment| segment.header.first <= position);
        let found = above.checked_sub(1).and_then(|at| segments.get(at)).cloned();
        drop(segments);
        found.ok_or_else(|| self.missing(position))
    }

    fn read_segment(&self, segment: &Segment, positions: &[Position], out: &mut Vec<Found>) -> Result<(), Error> {
        let disk = self.shared.disk.as_ref();
        let index = |position: &Position| u32::try_from(position.0 - segment.header.first.0).ok();
        let spans = segment.spans(disk, positions.iter().map_while(index))?;
        if let Some(missing) = positions.get(spans.len()) {
            return Err(self.missing(*missing));
        }
        let file = segment.file(disk)?;
        let mut buffer = Vec::new();
        let (mut spans, mut positions) = (&spans[..], positions);
        while let Some(first) = spans.first() {
            let together = neighbours(spans);
            let bytes = spans[together - 1].to.saturating_sub(first.from) as usize;
            if buffer.len() < bytes {
                buffer.resize(bytes, 0);
            }
            let read = file
                .read_at(u64::from(first.from), &mut buffer[..bytes])
                .map_err(|error| io_error("read", &segment.name, &error))?;
            for (span, position) in spans[..together].iter().zip(positions) {
                let at = ((span.from - first.from) as usize).min(read);
                let (record, _) = read_record(*position, &buffer[at..read])
                    .map_err(|damage| corrupt(&segment.name, u64::from(span.from), *position, damage))?;
                out.push(Found::Read(Box::new(record)));
            }
            (spans, positions) = (&spans[together..], &positions[together..]);
        }
        Ok(())
    }
}

impl Found {
    /// The record's place in the tail, if that has it.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        match self {
            Self::Kept(kept) => Some(kept),
            Self::Read(_) => None,
        }
    }
}

impl Deref for Found {
    type Target = Record;

    fn deref(&self) -> &Record {
        match self {
            Self::Kept(kept) => kept,
            Self::Read(record) => record,
        }
    }
}

/// How many of the wanted records are read together: at least the first.
fn neighbours(wanted: &[Span]) -> usize {
    let fits = |pair: &&[Span]| {
        let (before, next) = (&pair[0], &pair[1]);
        next.from >= before.to && next.from - before.to <= BRIDGE_BYTES && next.to - wanted[0].from <= READ_BYTES_MAX
    };
    1 + wanted.windows(2).take_while(fits).count()
}
