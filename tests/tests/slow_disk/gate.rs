//! A directory whose log files are synced when the test says so.

use crate::PATIENCE;
use highwater_engine::log::disk::{Disk, DiskFile, RealDisk};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

/// Lets syncs of the log through, one by one, or all of them.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    /// Syncs that may pass although it is shut.
    allowed: u64,
    passed: u64,
    /// A sync waits.
    is_held: bool,
}

impl Gate {
    /// No further sync returns.
    pub(crate) fn shut(&self) {
        self.state.lock().unwrap().is_shut = true;
    }

    /// All syncs pass from now on.
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().is_shut = false;
        self.changed.notify_all();
    }

    /// One sync more may pass.
    pub(crate) fn allow_one(&self) {
        self.state.lock().unwrap().allowed += 1;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_held = true;
        self.changed.notify_all();
        let is_held = |state: &mut State| state.is_shut && state.allowed == 0;
        let (mut state, _) = self.changed.wait_timeout_while(state, PATIENCE, is_held).unwrap();
        state.allowed = state.allowed.saturating_sub(1);
        state.passed += 1;
        state.is_held = false;
    }

    /// Waits until so many syncs have passed and the next one is held.
    pub(crate) fn wait_held(&self, passed: u64) {
        let state = self.state.lock().unwrap();
        let is_due = |state: &mut State| !(state.is_held && state.passed == passed);
        let (_state, late) = self.changed.wait_timeout_while(state, PATIENCE, is_due).unwrap();
        assert!(!late.timed_out(), "no sync was held after {passed}");
    }

    /// How many syncs have passed.
    pub(crate) fn passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }
}

/// A test that fails lets everything end: the engine waits for its syncs.
pub(crate) struct OpenAtEnd(pub(crate) Arc<Gate>);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A directory behind a gate.
pub(crate) struct GatedDisk {
    pub(crate) disk: RealDisk,
    pub(crate) gate: Arc<Gate>,
}

impl GatedDisk {
    pub(crate) fn new(directory: &Path, gate: &Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { disk: RealDisk::new(directory.to_owned()), gate: Arc::clone(gate) })
    }

    fn gated(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        // The fence and the position tables are not what a sender waits for. A segment may be made of reserved space,
        // under a name that says so.
        if name.starts_with("fence") || name.contains(".idx") {
            return file;
        }
        Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) })
    }
}

impl Disk for GatedDisk {
    fn prepare(&self) -> io::Result<()> {
        self.disk.prepare()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(name, self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(name, self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for GatedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
}
