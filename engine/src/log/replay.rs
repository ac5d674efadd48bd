//! Replaying: all records above a position, in order, for an index that lags behind the log.
//!
//! It decides how soon a store is open after a crash. So one thread reads, verifies and decodes while the caller's
//! applies, and bodies, which nothing is derived from, are left out where nobody wants them.

use super::segment::Segment;
use super::{LogReader, corrupt};
use highwater_proto::error::{Damage, Error};
use highwater_proto::frame::{FRAME_HEADER_BYTES, read_record, read_record_without_body};
use highwater_proto::id::Position;
use highwater_proto::record::Record;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Records that are handed over at once.
const BATCH_RECORDS: usize = 1_024;
/// Batches that wait.
const BATCHES_MAX: usize = 8;

/// What becomes of the bodies of messages and edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// They are read.
    #[cfg_attr(not(test), expect(dead_code, reason = "whoever derives something from bodies would need it"))]
    Read,
    /// They are empty.
    Empty,
}

type Batch = Result<Vec<Record>, Error>;

impl LogReader {
    /// Hands over all records above a position, in order, verifying whole frames. Ends with the first error.
    ///
    /// Holds one whole segment in memory at a time, and some thousand records.
    pub(crate) fn replay(
        &self,
        after: Position,
        bodies: Bodies,
        each: &mut dyn FnMut(Record) -> Result<(), Error>,
    ) -> Result<(), Error> {
        thread::scope(|scope| {
            let (sender, batches) = sync_channel(BATCHES_MAX);
            scope.spawn(move || {
                let read = self.send_records(after, bodies, &sender);
                // Whoever asked may have given up.
                let _told = read.map_err(|error| sender.send(Err(error)));
            });
            while let Ok(batch) = batches.recv() {
                batch?.into_iter().try_for_each(&mut *each)?;
            }
            Ok(())
        })
    }

    fn send_records(&self, after: Position, bodies: Bodies, batches: &SyncSender<Batch>) -> Result<(), Error> {
        let segments = self.shared.segments.read().clone();
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        for segment in segments.iter().filter(|segment| segment.last() > after) {
            let is_wanted = self.decode_segment(segment, after, bodies, &mut |record| {
                batch.push(record);
                batch.len() < BATCH_RECORDS
                    || batches.send(Ok(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_RECORDS)))).is_ok()
            })?;
            if !is_wanted {
                return Ok(());
            }
        }
        let _wanted = batches.send(Ok(batch));
        Ok(())
    }

    /// Calls `each` with a segment's records above a position until it returns false, and returns what it returned last.
    fn decode_segment(
        &self,
        segment: &Segment,
        after: Position,
        bodies: Bodies,
        each: &mut dyn FnMut(Record) -> bool,
    ) -> Result<bool, Error> {
        let read = |position: Position, bytes: &[u8]| -> Result<(Record, usize), Damage> {
            match bodies {
                Bodies::Read => read_record(position, bytes),
                Bodies::Empty => read_record_without_body(position, bytes),
            }
        };
        let (scanned, bytes) = segment.scan_bytes(self.shared.disk.as_ref())?;
        for frame in scanned.frames.iter().filter(|frame| frame.header.last() > after) {
            let mut position = frame.header.first;
            let mut offset = frame.offset as usize + FRAME_HEADER_BYTES;
            for _ in 0..frame.header.count {
                let (record, taken) = read(position, &bytes[offset..])
                    .map_err(|damage| corrupt(&segment.name, offset as u64, position, damage))?;
                if position > after && !each(record) {
                    return Ok(false);
                }
                offset += taken;
                position = position.next();
            }
        }
        Ok(true)
    }
}
