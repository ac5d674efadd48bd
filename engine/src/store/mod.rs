//! The index: timelines and state up to a position, in RocksDB. Only this folder knows it.
//!
//! The log is the truth and RocksDB has no write-ahead log of its own, so the index must always be consistent with one
//! position, `applied`. Therefore a persist is its only writer: one batch with `applied` inside, then one atomic flush of
//! all families. A process that dies before the flush is done leaves the index as the persist before left it.
//!
//! The rows of state are read once, all of them, by [`Store::load`]; timelines are read chunk by chunk, by prefix.
//! What is damaged is an error that names family and key, or the file where RocksDB found it; it is never skipped.

mod acknowledged;
mod ahead;
mod codec;
mod conversations;
mod devices;
mod family;
mod follows;
mod inbox;
mod load;
mod members;
mod memberships;
mod meta;
mod names;
mod outbox;
mod persist;
mod recalled;
mod redactions;
mod rows;
mod statistics;
mod timelines;

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;

pub(crate) use load::Loaded;
pub(crate) use rows::Rows;
pub(crate) use statistics::{Chunk, FamilyStatistics};
pub(crate) use timelines::Outboxes;

use crate::priority;
use family::Family;
use highwater_proto::error::{Code, Damage, Error};
use highwater_proto::id::Position;
use persist::NamesStored;
use rocksdb::statistics::StatsLevel;
use rocksdb::{Cache, ColumnFamily, DB, InfoLogger, LogLevel, Options, ReadOptions};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of blocks that reading keeps in memory, over all families of a store.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Table files that are kept open.
const OPEN_FILES_MAX: i32 = 512;
/// Written bytes after which a table file begins to go to the disk, so that its final sync is short: syncs of the log,
/// which somebody waits for, queue up behind it.
const BYTES_PER_SYNC: u64 = 512 << 10;
/// One flush and one compaction at a time.
const BACKGROUND_JOBS: i32 = 2;

/// What a device said about itself: soft state, left out of the canonical dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SoftDevice {
    /// Position of its acknowledged checkpoint; zero for none.
    pub(crate) acknowledged: Position,
    /// When it was last connected, in ms since 1970.
    pub(crate) last_seen_ms: u64,
}

/// An open index.
pub(crate) struct Store {
    db: DB,
    /// Those it was opened with: its counters hang on them.
    options: Options,
    path: PathBuf,
    names_stored: NamesStored,
}

impl Store {
    /// Opens the index in this directory, or creates an empty one.
    ///
    /// `Unusable`: it is of a format that this build does not know, or in use. `Corrupt`: files are damaged or missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        create_directory(path)?;
        let found = families_on_disk(path)?;
        let mut options = database_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        // The threads that RocksDB starts for flushes and compactions inherit this one's priority.
        let open = || DB::open_cf_descriptors(&options, path, Family::ALL.map(|family| family.descriptor(&cache)));
        let db = priority::lowered("hw-index-open", open).map_err(|error| open_error(path, &error))?;
        Self::checked(db, options, path, found)
    }

    /// Opens the index in this directory to be read, and changes nothing there.
    ///
    /// Errors are those of [`Store::open`], and `NotFound` if there is no index.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, Error> {
        let Some(found) = families_on_disk(path)? else {
            return Err(Error::new(Code::NotFound, format!("there is no index in {}", path.display())));
        };
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families = Family::ALL.into_iter().filter(|family| found.contains(family));
        let families = families.map(|family| family.descriptor(&cache));
        let options = database_options();
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false)
            .map_err(|error| open_error(path, &error))?;
        Self::checked(db, options, path, Some(found))
    }

    /// Refuses a format that is not ours, and an index that was complete once and lacks a family now.
    fn checked(db: DB, options: Options, path: &Path, found: Option<Vec<Family>>) -> Result<Self, Error> {
        let store = Self { db, options, path: path.to_owned(), names_stored: NamesStored::default() };
        let existed = |family: Family| found.as_ref().is_some_and(|found| found.contains(&family));
        if !existed(Family::Meta) {
            return Ok(store);
        }
        if let Some(version) = store.format()? {
            if version != meta::FORMAT {
                let (path, known) = (path.display(), meta::FORMAT);
                let message = format!("the index {path} has format {version}; this build knows format {known}");
                return Err(Error::new(Code::Unusable, message));
            }
            if let Some(missing) = Family::ALL.into_iter().find(|family| !existed(*family)) {
                let message = format!("the index {} lacks the family {}", path.display(), missing.name());
                return Err(Error::new(Code::Corrupt, message));
            }
        }
        Ok(store)
    }

    fn format(&self) -> Result<Option<u64>, Error> {
        let value = self.get(Family::Meta, meta::FORMAT_KEY)?;
        let decode = |value: Vec<u8>| meta::decode_format(&value);
        value.map(decode).transpose().map_err(|damage| self.damaged(Family::Meta, meta::FORMAT_KEY, &damage))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf(self.handle(family), key).map_err(|error| self.error(&error))
    }

    fn handle(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("all families are opened with the store")
    }

    /// Calls `row` with every row of a family, in the order of keys.
    fn scan(&self, family: Family, mut row: impl FnMut(&[u8], &[u8]) -> Result<(), Damage>) -> Result<(), Error> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_cf_opt(self.handle(family), options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            row(key, value).map_err(|damage| self.damaged(family, key, &damage))?;
            rows.next();
        }
        rows.status().map_err(|error| self.error(&error))
    }

    /// A row that does not say what rows of its family say.
    fn damaged(&self, family: Family, key: &[u8], damage: &Damage) -> Error {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let (path, family) = (self.path.display(), family.name());
        Error::new(Code::Corrupt, format!("index {path}, family {family}, key {key}: {damage}"))
    }

    fn error(&self, error: &rocksdb::Error) -> Error {
        index_error(&self.path, error)
    }
}

/// Options of the index as a whole.
fn database_options() -> Options {
    let mut options = Options::default();
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    // Opening is to be quick and without a crowd of threads: few files are opened ahead, nothing is sampled or dumped.
    options.set_max_file_opening_threads(1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Counters are kept per core and cost nothing to speak of; time is not measured.
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, report));
    options
}

/// What RocksDB has to say goes where the engine's own reports go; headers list all options at each opening.
fn report(level: LogLevel, text: &str) {
    match level {
        LogLevel::Warn => tracing::warn!(target: "rocksdb", "{text}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{text}"),
        _ => {}
    }
}

/// Creates the directory if need be, durably.
fn create_directory(path: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::new(Code::Io, format!("creating {}: {error}", path.display()));
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(failed)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed),
        None => Ok(()),
    }
}

/// The families of the index in this directory; `None` if there is none yet.
fn families_on_disk(path: &Path) -> Result<Option<Vec<Family>>, Error> {
    if !path.join("CURRENT").is_file() {
        return match table_file(path) {
            // RocksDB would begin a new, empty index beside them.
            Some(file) => Err(Error::new(
                Code::Corrupt,
                format!("the index {} has the file {file} but its file CURRENT is missing", path.display()),
            )),
            None => Ok(None),
        };
    }
    let names = DB::list_cf(&database_options(), path).map_err(|error| open_error(path, &error))?;
    let mut families = Vec::with_capacity(names.len());
    for name in names.iter().filter(|name| *name != rocksdb::DEFAULT_COLUMN_FAMILY_NAME) {
        let Some(family) = Family::ALL.into_iter().find(|family| family.name() == name) else {
            let message = format!("the index {} has the family {name}, which this build does not know", path.display());
            return Err(Error::new(Code::Unusable, message));
        };
        families.push(family);
    }
    Ok(Some(families))
}

/// A table file in this directory, by name.
fn table_file(path: &Path) -> Option<String> {
    let names = fs::read_dir(path).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".sst")).min()
}

fn open_error(path: &Path, error: &rocksdb::Error) -> Error {
    let mapped = index_error(path, error);
    // RocksDB says so as an I/O error, with the lock's path in the text.
    if mapped.code == Code::Io && mapped.message.contains("lock") {
        return Error::new(Code::Unusable, mapped.message);
    }
    mapped
}

fn index_error(path: &Path, error: &rocksdb::Error) -> Error {
    let code = match error.kind() {
        rocksdb::ErrorKind::Corruption => Code::Corrupt,
        rocksdb::ErrorKind::InvalidArgument | rocksdb::ErrorKind::NotSupported => Code::Unusable,
        _ => Code::Io,
    };
    Error::new(code, format!("index {}: {error}", path.display()))
}
