//! What a program is told: how much it may do, and where it may write.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Why a program could not measure anything. A missed target is none: it stands in the report.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a program is told.
#[derive(Clone, Debug)]
pub struct Context {
    /// Small sizes and few rounds; still real measurements.
    pub quick: bool,
    /// Reports go here, and temporary stores below it: a directory of a real disk.
    pub out: PathBuf,
    /// About how long the whole program may take. A program that has more rounds to do than time ends early and says so.
    pub budget: Duration,
    /// Of the workload's generator; the same seed makes the same workload.
    pub seed: u64,
}

impl Context {
    /// An empty directory on the disk of the reports, gone when it is dropped.
    ///
    /// # Errors
    /// It cannot be made, or that disk is memory in disguise: nothing said about durability would be true then.
    pub fn scratch(&self) -> Result<TempDir, Failure> {
        scratch_below(&self.out)
    }

    /// The first in full, the second when it has to be quick.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Where reports go by default: the user's cache directory, never the checkout.
pub fn default_out() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("highwater").join("bench")
}

/// As [`Context::scratch`], for programs without a context.
///
/// # Errors
/// As there.
pub fn scratch_below(out: &Path) -> Result<TempDir, Failure> {
    let stores = out.join("stores");
    std::fs::create_dir_all(&stores)?;
    let kind = crate::machine::file_system(&stores);
    if kind.starts_with("tmpfs") || kind.starts_with("ramfs") {
        return Err(format!("{} lies in memory ({kind}); name a directory of a disk with --out", out.display()).into());
    }
    Ok(tempfile::Builder::new().prefix("store-").tempdir_in(stores)?)
}
