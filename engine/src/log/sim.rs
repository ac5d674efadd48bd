//! A disk in memory that forgets what was not synced: a tool for tests of this crate and of programs built on it.
//!
//! Killing a process loses nothing that was written; cutting the power does. [`SimDisk`] keeps, beside the contents
//! that a running process sees, what is durable: sectors of 512 bytes as of their file's last sync, and names as of
//! the directory's last one. [`SimDisk::crash`] goes back to that; [`SimDisk::crash_with`] may keep some of the rest,
//! as disks do. Faults are armed beforehand and happen once.
//!
//! A crash ends the power supply of everything opened before it: handles from before it fail. Drop the engine that
//! used the disk before opening another one.
//!
//! ```
//! use highwater_engine::log::disk::Disk;
//! use highwater_engine::log::sim::SimDisk;
//!
//! let disk = SimDisk::new();
//! let file = disk.create("a")?;
//! disk.sync_dir()?;
//! file.write_at(0, b"kept")?;
//! file.sync()?;
//! file.write_at(4, b" lost")?;
//! disk.crash();
//! assert_eq!(disk.contents("a").as_deref(), Some(&b"kept"[..]));
//! # Ok::<(), std::io::Error>(())
//! ```

use super::disk::{Disk, DiskFile};
use crate::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is lost.
    Lost,
    /// Each sector and the latest changes of names are kept, lost or torn, as the seed has it.
    Random(u64),
    /// All of it is kept, as when the process is killed and the machine runs on.
    Kept,
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    /// The names after each change since the last sync of the directory, that one first.
    name_history: Vec<BTreeMap<String, u64>>,
    /// Handles of earlier powers are dead.
    power: u64,
    is_off: bool,
    capacity: Option<u64>,
    syncs: u64,
    writes: u64,
    cut_after: Option<u64>,
    fail_write: bool,
    fail_sync: bool,
}

#[derive(Default)]
struct Inode {
    /// What was written; up to `length` zeros follow.
    data: Vec<u8>,
    length: u64,
    durable_length: u64,
    /// Durable contents of the sectors that were written since.
    dirty: BTreeMap<usize, Box<[u8; SECTOR_BYTES]>>,
    /// Sectors that a failed sync gave up: no later sync makes them durable.
    given_up: BTreeSet<usize>,
}

impl SimDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: everything that was not synced is lost. The disk can be opened again at once.
    pub fn crash(&self) {
        self.crash_with(Unsynced::Lost);
    }

    /// Cuts the power and keeps what `unsynced` says. What is left is durable. All armed faults are disarmed.
    pub fn crash_with(&self, unsynced: Unsynced) {
        let mut inner = self.0.lock();
        let mut random = Random(if let Unsynced::Random(seed) = unsynced { seed } else { 0 });
        let history = std::mem::take(&mut inner.name_history);
        let kept = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Kept => history.len(),
            Unsynced::Random(_) => random.below(history.len() as u64 + 1) as usize,
        };
        if let Some(names) = history.into_iter().nth(kept) {
            inner.names = names;
        }
        let named: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.inodes.retain(|inode, _| named.contains(inode));
        for inode in inner.inodes.values_mut() {
            inode.crash(unsynced, &mut random);
        }
        inner.power += 1;
        inner.is_off = false;
        inner.cut_after = None;
        inner.fail_write = false;
        inner.fail_sync = false;
    }

    /// How many syncs (of a file or the directory) have succeeded so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// How many writes have succeeded so far.
    pub fn writes(&self) -> u64 {
        self.0.lock().writes
    }

    /// Lets `syncs` more syncs succeed. The one after them fails without doing anything, and so does every operation
    /// from then on, until the next crash.
    pub fn cut_after(&self, syncs: u64) {
        self.0.lock().cut_after = Some(syncs);
    }

    /// The next write fails and leaves half of its bytes.
    pub fn fail_next_write(&self) {
        self.0.lock().fail_write = true;
    }

    /// The next sync fails, and what it should have made durable never is.
    pub fn fail_next_sync(&self) {
        self.0.lock().fail_sync = true;
    }

    /// From now on files may take so many bytes together, preallocated ones included; `None`: without limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes taken by all files, preallocated ones included.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// A file's bytes, preallocated zeros included.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.0.lock();
        let inode = inner.inodes.get(inner.names.get(name)?)?;
        let mut bytes = inode.data.clone();
        bytes.resize(inode.length as usize, 0);
        Some(bytes)
    }

    /// Changes a file's bytes behind the log's back, durably: bit rot. Makes the file if it is absent.
    pub fn set_contents(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.0.lock();
        let inode = Inode {
            data: bytes.to_vec(),
            length: bytes.len() as u64,
            durable_length: bytes.len() as u64,
            ..Inode::default()
        };
        let number = inner.add(inode);
        inner.put_durably(name, Some(number));
    }

    /// Removes a file behind the log's back, durably.
    pub fn lose(&self, name: &str) {
        self.0.lock().put_durably(name, None);
    }
}

impl Inner {
    fn add(&mut self, inode: Inode) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, inode);
        self.next_inode
    }

    fn put_durably(&mut self, name: &str, inode: Option<u64>) {
        for names in self.name_history.iter_mut().chain([&mut self.names]) {
            match inode {
                Some(inode) => names.insert(name.to_owned(), inode),
                None => names.remove(name),
            };
        }
    }

    fn change_names(&mut self, change: impl FnOnce(&mut BTreeMap<String, u64>)) {
        self.name_history.push(self.names.clone());
        change(&mut self.names);
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.length).sum()
    }

    fn check_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk"))
            }
            _ => Ok(()),
        }
    }

    /// Counts a sync, or says that it fails; `true` in the error if what it should have synced is given up.
    fn begin_sync(&mut self) -> Result<(), (io::Error, bool)> {
        self.check_power().map_err(|error| (error, false))?;
        if self.cut_after == Some(0) {
            self.is_off = true;
            return Err((io::Error::other("the power was cut"), false));
        }
        if std::mem::take(&mut self.fail_sync) {
            return Err((io::Error::other("the simulated disk failed to sync"), true));
        }
        self.cut_after = self.cut_after.map(|left| left - 1);
        self.syncs += 1;
        Ok(())
    }
}

impl Inode {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if bytes.is_empty() {
            return;
        }
        for sector in from / SECTOR_BYTES..=(to - 1) / SECTOR_BYTES {
            let data = &self.data;
            self.dirty.entry(sector).or_insert_with(|| {
                let mut durable = Box::new([0; SECTOR_BYTES]);
                let begin = (sector * SECTOR_BYTES).min(data.len());
                let end = ((sector + 1) * SECTOR_BYTES).min(data.len());
                durable[..end - begin].copy_from_slice(&data[begin..end]);
                durable
            });
        }
        if self.data.len() < to {
            self.data.resize(to, 0);
        }
        self.data[from..to].copy_from_slice(bytes);
        self.length = self.length.max(to as u64);
    }

    fn crash(&mut self, unsynced: Unsynced, random: &mut Random) {
        let keeps_length = match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Random(_) => random.below(2) == 0,
        };
        for (sector, durable) in std::mem::take(&mut self.dirty) {
            let lost_from = match unsynced {
                Unsynced::Lost => 0,
                Unsynced::Kept => SECTOR_BYTES,
                Unsynced::Random(_) => match random.below(3) {
                    0 => 0,
                    1 => SECTOR_BYTES,
                    _ => random.below(SECTOR_BYTES as u64) as usize,
                },
            };
            let begin = sector * SECTOR_BYTES;
            let end = (begin + SECTOR_BYTES).min(self.data.len());
            if begin + lost_from < end {
                self.data[begin + lost_from..end].copy_from_slice(&durable[lost_from..end - begin]);
            }
        }
        self.given_up.clear();
        if !keeps_length {
            self.length = self.durable_length;
            self.data.truncate(self.length as usize);
        }
        self.durable_length = self.length;
    }
}

/// SplitMix64: equal seeds give equal crashes.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Disk for SimDisk {
    fn prepare(&self) -> io::Result<()> {
        self.0.lock().check_power()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.0.lock();
        inner.check_power()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.0.lock();
        inner.check_power()?;
        let inode = inner.add(Inode::default());
        inner.change_names(|names| {
            names.insert(name.to_owned(), inode);
        });
        Ok(Arc::new(SimFile { disk: self.clone(), inode, power: inner.power }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.0.lock();
        inner.check_power()?;
        let inode = *inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, power: inner.power }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.check_power()?;
        let inode = *inner.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        inner.change_names(|names| {
            names.remove(from);
            names.insert(to.to_owned(), inode);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.check_power()?;
        if !inner.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.change_names(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.begin_sync().map_err(|(error, _)| error)?;
        inner.name_history.clear();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    power: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.0.lock();
        inner.check_power()?;
        if inner.power != self.power {
            return Err(io::Error::other("the file was opened before the simulated crash"));
        }
        act(&mut inner)
    }
}

fn inode(inner: &mut Inner, number: u64) -> io::Result<&mut Inode> {
    inner.inodes.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl DiskFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        self.with(|inner| Ok(inode(inner, self.inode)?.length))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|inner| {
            let inode = inode(inner, self.inode)?;
            let readable = inode.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
            let stored = inode.data.len().saturating_sub(offset as usize).min(readable);
            if stored > 0 {
                let from = offset as usize;
                buffer[..stored].copy_from_slice(&inode.data[from..from + stored]);
            }
            buffer[stored..readable].fill(0);
            Ok(readable)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|inner| {
            let fails = std::mem::take(&mut inner.fail_write);
            let length = inode(inner, self.inode)?.length;
            inner.check_room((offset + bytes.len() as u64).saturating_sub(length))?;
            let written = if fails { &bytes[..bytes.len() / 2] } else { bytes };
            inode(inner, self.inode)?.write(offset, written);
            if fails {
                return Err(io::Error::other("the simulated disk failed to write"));
            }
            inner.writes += 1;
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.with(|inner| {
            let length = inode(inner, self.inode)?.length;
            inner.check_room(bytes.saturating_sub(length))?;
            let inode = inode(inner, self.inode)?;
            inode.length = inode.length.max(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|inner| {
            let begun = inner.begin_sync();
            let inode = inode(inner, self.inode)?;
            match begun {
                Err((error, gives_up)) => {
                    if gives_up {
                        inode.given_up.extend(inode.dirty.keys().copied());
                    }
                    Err(error)
                }
                Ok(()) => {
                    let given_up = &inode.given_up;
                    inode.dirty.retain(|sector, _| given_up.contains(sector));
                    inode.durable_length = inode.length;
                    Ok(())
                }
            }
        })
    }
}
