//! The writer: appends frames, syncs them, begins new segments.

use super::disk::DiskFile;
use super::fence::Fence;
use super::segment::Segment;
use super::space::is_full;
use super::{Shared, io_error, names, open};
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::{FRAME_HEADER_BYTES, GroupBuilder, SEGMENT_HEADER_BYTES, SegmentHeader};
use highwater_proto::id::{Epoch, Position};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A sync renews the fence if the last one is at least this old.
const FENCE_INTERVAL: Duration = Duration::from_secs(1);

/// Offsets kept in memory: those of the segment that is written to, and of so many before it.
pub(super) const TABLES_MAX: usize = 4;
/// Segments whose files stay open.
pub(super) const FILES_MAX: usize = 64;

/// Appends and syncs. After a failure it refuses everything: what is on the disk is not known any more.
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    epoch: Epoch,
    last: Position,
    synced: Position,
    fence: Fence,
    fenced_at: Instant,
    scratch: Vec<u8>,
    failure: Option<Error>,
}

impl LogWriter {
    /// A writer behind the newest segment. Everything in the log is synced, and the fence says so.
    pub(super) fn new(shared: Arc<Shared>, fence: Fence) -> Result<Self, Error> {
        let segment = shared.segments.read().last().cloned().expect("a log has a segment");
        let file = segment.file(shared.disk.as_ref())?;
        Ok(Self {
            segment,
            file,
            epoch: fence.epoch,
            last: fence.position,
            synced: fence.position,
            fence,
            fenced_at: Instant::now(),
            scratch: Vec::new(),
            failure: None,
            shared,
        })
    }

    /// Writes a group as one frame. It is readable at once, durable after [`LogWriter::sync`].
    ///
    /// `invalid_argument` if it is empty or does not begin at the next position; nothing happened then. Any other
    /// error is final.
    pub(crate) fn append(&mut self, group: &GroupBuilder) -> Result<(), Error> {
        self.check()?;
        if group.is_empty() || group.first() != self.last.next() {
            let what = format!("a group begins at position {}; {} is expected", group.first(), self.last.next());
            return Err(Error::new(Code::InvalidArgument, what));
        }
        self.finally(|writer| writer.append_frame(group))
    }

    /// Makes everything appended durable, and renews the fence about once a second. Any error is final.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.check()?;
        self.finally(|writer| {
            writer.sync_data()?;
            if writer.fenced_at.elapsed() >= FENCE_INTERVAL { writer.renew_fence() } else { Ok(()) }
        })
    }

    /// Syncs, and writes the fence if it is behind: for a writer that has had nothing to do for a while. Without it,
    /// the last group of a busy second is protected against the loss of its bytes, but its damage could later be taken
    /// for a torn end. Any error is final.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        self.check()?;
        self.finally(|writer| {
            writer.sync_data()?;
            if writer.fence.position < writer.synced { writer.renew_fence() } else { Ok(()) }
        })
    }

    /// Everything up to here is durable.
    #[cfg(test)]
    pub(crate) fn synced(&self) -> Position {
        self.synced
    }

    /// Syncs and leaves a clean fence. Without it the next opening raises the epoch.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.check()?;
        self.sync_data()?;
        let fence = Fence { is_clean: true, position: self.synced, ..self.fence };
        fence.write(self.shared.disk.as_ref()).map_err(|error| io_error("write", names::FENCE, &error))
    }

    /// Where the last frame ends in the newest segment, in bytes.
    #[cfg(test)]
    pub(super) fn segment_end(&self) -> u64 {
        self.segment.end()
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failure {
            None => Ok(()),
            Some(error) => Err(Error::new(Code::Poisoned, format!("the log stopped: {}", error.message))),
        }
    }

    fn finally(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let done = act(self);
        if let Err(error) = &done {
            self.failure = Some(error.clone());
        }
        done
    }

    fn append_frame(&mut self, group: &GroupBuilder) -> Result<(), Error> {
        let bytes = group.bytes() as u64;
        self.make_room(bytes)?;
        let begin = self.segment.end();
        let header = group.header(self.epoch, self.synced).encode(self.segment.header.salt);
        self.scratch.clear();
        self.scratch.extend_from_slice(&header);
        self.scratch.extend_from_slice(group.payload());
        self.file.write_at(begin, &self.scratch).map_err(|error| io_error("write to", &self.segment.name, &error))?;
        let records = begin as u32 + FRAME_HEADER_BYTES as u32;
        self.segment.publish(group.offsets().iter().map(|offset| records + offset), (begin + bytes) as u32);
        self.shared.space.lock().written(group);
        self.shared.counters.appended_frame(bytes);
        self.last = group.last();
        Ok(())
    }

    /// Uses what was reserved; where nothing was, reserves it now. Whoever wants to reserve meanwhile waits, so that
    /// there is one next segment at a time.
    fn make_room(&mut self, bytes: u64) -> Result<(), Error> {
        let shared = self.shared.clone();
        let mut space = shared.space.lock();
        space
            .ensure(shared.disk.as_ref(), shared.options, bytes)
            .map_err(|error| io_error("reserve space in", &self.segment.name, &error))?;
        if let Some(spare) = space.next_segment(bytes) {
            self.begin_segment(spare.file.clone())?;
            space.began(self.segment.name.clone(), self.segment.end(), spare);
        }
        Ok(())
    }

    /// Ends the segment and goes on in the next one, whose existence says that this one is durable as a whole.
    fn begin_segment(&mut self, file: Arc<dyn DiskFile>) -> Result<(), Error> {
        self.sync_data()?;
        let sidecar_bytes = self.segment.write_sidecar(self.shared.disk.as_ref());
        self.shared.counters.wrote(sidecar_bytes + SEGMENT_HEADER_BYTES as u64);
        let header = SegmentHeader { first: self.last.next(), epoch: self.epoch, salt: open::new_salt() };
        let name = names::segment(header.first, header.epoch);
        let made = || -> io::Result<()> {
            file.write_at(0, &header.encode())?;
            file.sync()?;
            self.shared.disk.rename(names::SPARE, &name)?;
            self.shared.disk.sync_dir()
        };
        made().map_err(|error| io_error("make", &name, &error))?;
        self.segment = Arc::new(Segment::new(name, header, file.clone(), Vec::new(), SEGMENT_HEADER_BYTES as u32));
        self.file = file;
        let mut segments = self.shared.segments.write();
        segments.push(self.segment.clone());
        bound_resources(&segments);
        Ok(())
    }

    fn sync_data(&mut self) -> Result<(), Error> {
        if self.synced < self.last {
            self.file.sync().map_err(|error| io_error("sync", &self.segment.name, &error))?;
            self.synced = self.last;
            self.shared.counters.synced();
        }
        Ok(())
    }

    /// Replaces the fence. On a full disk the old one stays for now: it claims less, and no harm is done.
    fn renew_fence(&mut self) -> Result<(), Error> {
        self.fenced_at = Instant::now();
        let fence = Fence { epoch: self.epoch, position: self.synced, is_clean: false };
        match fence.write(self.shared.disk.as_ref()) {
            Err(error) if is_full(&error) => return Ok(()),
            written => written.map_err(|error| io_error("write", names::FENCE, &error))?,
        }
        self.fence = fence;
        Ok(())
    }
}

/// Forgets the offsets and closes the file of the one segment that has become too old for each.
fn bound_resources(segments: &[Arc<Segment>]) {
    if let Some(old) = segments.len().checked_sub(TABLES_MAX + 2) {
        segments[old].forget_offsets();
    }
    if let Some(old) = segments.len().checked_sub(FILES_MAX + 1) {
        segments[old].forget_file();
    }
}
