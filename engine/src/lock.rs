//! One process per store: a lock file that names its holder.

use highwater_proto::error::{Code, Error};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held while a store is open; the operating system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StoreLock {
    file: File,
}

impl StoreLock {
    /// Takes the lock of the store in `directory`, which is created if need be.
    ///
    /// # Errors
    /// `unusable`: another process holds it; the message names its process id.
    pub(crate) fn take(directory: &Path) -> Result<Self, Error> {
        let io = |what: &str, error: std::io::Error| {
            Error::new(Code::Io, format!("cannot {what} {}: {error}", directory.display()))
        };
        std::fs::create_dir_all(directory).map_err(|error| io("create", error))?;
        let path = directory.join("LOCK");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = file.map_err(|error| io("open the lock file in", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The name is a courtesy: the lock holds without it.
                let _read = file.read_to_string(&mut holder);
                let message = format!("{} is in use by process {}", directory.display(), holder.trim());
                return Err(Error::new(Code::Unusable, message));
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|error| io("write the lock file in", error))?;
        Ok(Self { file })
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child process that was forked and has not begun its program yet holds the same
        // open file, and with it the lock.
        let _unlocked = self.file.unlock();
    }
}
