//! The few questions to the kernel that the standard library does not ask.
//!
//! The calls take descriptors and plain structures that live on the caller's stack; none keeps a pointer.

#![expect(
    unsafe_code,
    reason = "clocks of CPU time, reserved space and advice on the page cache have no safe form in std"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// CPU time that all threads of this process have used, user and system.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time that the calling thread has used, user and system.
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills a structure that lives on this stack frame.
    let failed = unsafe { libc::clock_gettime(id, &raw mut time) };
    assert_eq!(failed, 0, "a clock of CPU time exists on every Linux");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Reserves space so that a file is at least this long, as the engine's log does.
///
/// # Errors
/// There is no room.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open during the call, which touches no memory of this process.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Drops the pages of every file below a directory from the page cache, so that they are read from the disk again.
/// What was not written back yet is written first.
///
/// # Errors
/// A file cannot be opened or synced.
pub fn drop_cached(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            drop_cached(&path)?;
        } else if path.is_file() {
            let file = File::open(&path)?;
            file.sync_all()?;
            // SAFETY: the descriptor is open during the call, which touches no memory of this process.
            let code = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code));
            }
        }
    }
    Ok(())
}

/// Drops the whole page cache, dentries and inodes of the machine, where that is allowed.
///
/// # Errors
/// It is not.
pub fn drop_all_caches() -> io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}
