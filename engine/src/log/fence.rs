//! The fence file: how far the log was synced, and whether it was closed.
//!
//! Frames claim what was synced before them; the fence says it for the last ones, when nothing follows. It is replaced
//! whole: temporary name, sync, rename, sync of the directory.

use super::disk::Disk;
use super::{corrupt, io_error, names, read_start};
use highwater_proto::error::Error;
use highwater_proto::id::{Epoch, Position};
use std::io;

/// How far the log was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    /// The epoch that was written in.
    pub(super) epoch: Epoch,
    /// Everything up to here was durable.
    pub(super) position: Position,
    /// The log was closed here, and nothing was appended since.
    pub(super) is_clean: bool,
}

const MAGIC: [u8; 8] = *b"HWFENCE1";
const BYTES: usize = 28;

impl Fence {
    fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.position.0.to_be_bytes());
        bytes[20..24].copy_from_slice(&u32::from(self.is_clean).to_be_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..24]) != u32_at(24)? {
            return None;
        }
        Some(Self {
            epoch: Epoch(u32_at(8)?),
            position: Position(u64::from_be_bytes(bytes[12..20].try_into().ok()?)),
            is_clean: u32_at(20)? == 1,
        })
    }

    /// Reads the fence: `None` if there is none, `corrupt` if it is damaged. It is never torn, since it is replaced
    /// whole.
    pub(super) fn read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let failed = |error: io::Error| io_error("read", names::FENCE, &error);
        let file = match disk.open(names::FENCE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let bytes = read_start(file.as_ref(), file.bytes().map_err(failed)?.min(1 << 10)).map_err(failed)?;
        let damaged = || {
            let what = "the fence is damaged; without this file the log opens, but losses at its end pass unnoticed";
            corrupt(names::FENCE, 0, Position::ZERO, what)
        };
        Self::decode(&bytes).map(Some).ok_or_else(damaged)
    }

    /// Replaces the fence, durably. After a failure the one before still stands.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let name = names::temporary(names::FENCE);
        let file = disk.create(&name)?;
        file.write_at(0, &self.encode())?;
        file.sync()?;
        disk.rename(&name, names::FENCE)?;
        disk.sync_dir()
    }
}
