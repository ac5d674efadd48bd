//! Space ahead of the writer, reserved before positions are assigned.
//!
//! Once a record has a position there is only success or poison, so a full disk has to be noticed before. Segments
//! grow by reserved steps, and the file of the next segment exists before it is needed. When reserving fails nothing
//! has happened yet: the store only refuses to write, and tries again with the next command.

use super::disk::{Disk, DiskFile};
use super::{LogOptions, Shared, io_error, names};
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::{FRAME_HEADER_BYTES, GroupBuilder, SEGMENT_HEADER_BYTES};
use std::io;
use std::sync::Arc;

/// Segments grow by this, in bytes: it bounds what an unclean stop wastes.
const STEP_BYTES: u64 = 4 << 20;

/// Largest possible segment, in bytes: offsets have 32 bits.
const SEGMENT_BYTES_LIMIT: u64 = u32::MAX as u64;

/// What is reserved, and what for.
pub(super) struct Space {
    /// The segment that is written to.
    file: Arc<dyn DiskFile>,
    /// Its name, for errors.
    name: String,
    /// Where the next frame goes.
    end: u64,
    /// Up to here its space is reserved.
    allocated: u64,
    /// The next segment.
    spare: Option<Spare>,
    /// Bytes promised to groups that are with the writer.
    in_flight: u64,
    /// Bytes promised to the group that is being built.
    building: u64,
}

/// Reserved space that has no name in the log yet.
pub(super) struct Spare {
    pub(super) file: Arc<dyn DiskFile>,
    allocated: u64,
}

impl Space {
    /// The space of a log whose newest segment ends at `end`.
    pub(super) fn new(file: Arc<dyn DiskFile>, name: String, end: u64, allocated: u64) -> Self {
        Self { file, name, end, allocated, spare: None, in_flight: 0, building: 0 }
    }

    /// Makes sure that `needed` bytes have room behind the end: in this segment, or all of them in the next one.
    pub(super) fn ensure(&mut self, disk: &dyn Disk, options: LogOptions, needed: u64) -> io::Result<()> {
        let header = SEGMENT_HEADER_BYTES as u64;
        let fits_spare = |spare: &Spare| header + needed <= spare.allocated;
        if self.end + needed <= self.allocated || self.spare.as_ref().is_some_and(fits_spare) {
            return Ok(());
        }
        // A segment without frames cannot be followed by another: that would have the same name.
        if self.spare.is_none()
            && (self.end + needed <= options.segment_bytes_max.min(SEGMENT_BYTES_LIMIT) || self.end <= header)
        {
            self.allocated = extend(self.file.as_ref(), self.end + needed, options)?;
            return Ok(());
        }
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => Spare { file: disk.create(names::SPARE)?, allocated: 0 },
        };
        let extended = extend(spare.file.as_ref(), header + needed, options);
        if let Ok(allocated) = &extended {
            spare.allocated = *allocated;
        }
        self.spare = Some(spare);
        extended.map(|_| ())
    }

    /// Takes the next segment's file, if a frame of `bytes` has no room in this one.
    pub(super) fn next_segment(&mut self, bytes: u64) -> Option<Spare> {
        if self.end + bytes <= self.allocated { None } else { self.spare.take() }
    }

    /// A new segment is written to from now on.
    pub(super) fn began(&mut self, name: String, end: u64, spare: Spare) {
        (self.file, self.name, self.end, self.allocated) = (spare.file, name, end, spare.allocated);
    }

    /// A group was written.
    pub(super) fn written(&mut self, group: &GroupBuilder) {
        let bytes = group.bytes() as u64;
        self.end += bytes;
        match self.in_flight.checked_sub(bytes) {
            Some(left) => self.in_flight = left,
            // It was never announced; all that is known is that nothing else is under way.
            None => (self.in_flight, self.building) = (0, 0),
        }
    }
}

/// Reserves a step, or what is needed at least if the disk has no more.
fn extend(file: &dyn DiskFile, needed: u64, options: LogOptions) -> io::Result<u64> {
    if needed > SEGMENT_BYTES_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a segment cannot have 4 GiB"));
    }
    let stepped =
        needed.next_multiple_of(STEP_BYTES).min(options.segment_bytes_max.min(SEGMENT_BYTES_LIMIT)).max(needed);
    match file.allocate(stepped) {
        Ok(()) => Ok(stepped),
        Err(error) if is_full(&error) && needed < stepped => file.allocate(needed).map(|()| needed),
        Err(error) => Err(error),
    }
}

/// Whether an operation failed for lack of space alone.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reserves space for groups before their positions are assigned. Cheap to clone; any thread.
#[derive(Clone)]
pub(crate) struct LogSpace {
    pub(super) shared: Arc<Shared>,
}

impl LogSpace {
    /// Makes sure that the group that is being built has room for `bytes` more, besides groups handed over before.
    ///
    /// `bytes` is an upper bound for the records with their lengths and checksums; the frame's header is counted here.
    /// `read_only` if the disk is full: nothing was reserved then, and a later call tries again.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let mut space = self.shared.space.lock();
        let header = FRAME_HEADER_BYTES as u64;
        let needed = space.in_flight + space.building + header + bytes;
        match space.ensure(self.shared.disk.as_ref(), self.shared.options, needed) {
            Ok(()) => {
                space.building += bytes;
                Ok(())
            }
            Err(error) if is_full(&error) => Err(Error::new(
                Code::ReadOnly,
                "the disk is full: reads go on, writes are refused until there is space",
            )),
            Err(error) => Err(io_error("reserve space in", &space.name, &error)),
        }
    }

    /// The group that space was reserved for is complete and goes to the writer. What was reserved beyond its size is
    /// given back.
    pub(crate) fn handed_over(&self, group: &GroupBuilder) {
        let mut space = self.shared.space.lock();
        space.building = 0;
        // An empty group is never written: it would be in flight for ever.
        if !group.is_empty() {
            space.in_flight += group.bytes() as u64;
        }
    }
}
