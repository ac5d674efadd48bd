//! A disk in memory that does as little as a disk can: what is counted is to be the engine's work, not the disk's.

use highwater_engine::log::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Files grow by pieces of this size, so that the cost of growing does not depend on how large they are.
const PIECE_BYTES: usize = 64 << 10;

/// A directory of files in memory.
#[derive(Default)]
pub(super) struct MemoryDisk(Mutex<BTreeMap<String, Arc<MemoryFile>>>);

#[derive(Default)]
struct MemoryFile(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    pieces: Vec<Vec<u8>>,
    length: u64,
}

impl Disk for MemoryDisk {
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(MemoryFile::default());
        self.0.lock().insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.lock().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let contents = self.0.lock();
        let readable = contents.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (mut at, mut rest) = (offset as usize, &mut buffer[..readable]);
        while !rest.is_empty() {
            let within = at % PIECE_BYTES;
            let (now, later) = rest.split_at_mut(rest.len().min(PIECE_BYTES - within));
            match contents.pieces.get(at / PIECE_BYTES) {
                Some(piece) => now.copy_from_slice(&piece[within..within + now.len()]),
                None => now.fill(0),
            }
            at += now.len();
            rest = later;
        }
        Ok(readable)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.0.lock();
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let (index, within) = (at / PIECE_BYTES, at % PIECE_BYTES);
            while contents.pieces.len() <= index {
                contents.pieces.push(vec![0; PIECE_BYTES]);
            }
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES - within));
            contents.pieces[index][within..within + now.len()].copy_from_slice(now);
            at += now.len();
            rest = later;
        }
        contents.length = contents.length.max(at as u64);
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.length = contents.length.max(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
