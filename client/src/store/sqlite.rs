//! Stores that survive restarts, in SQLite.
//!
//! The two stores are two files, each with a lock of its own, so that a reader and a sender run side by side and two
//! readers or two senders do not. A lock is a third, empty database on which a transaction is held open: the system
//! frees it when the process ends, however it ends. Applications may read a store's file by other connections meanwhile.

mod checkpoints;
mod outgoing;

pub use checkpoints::SqliteCheckpoints;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Incarnation, check_name};
pub use outgoing::SqliteOutgoing;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// Says that a file is one of these stores, and not another program's.
const APPLICATION_ID: i32 = 0x4857_4331;

/// Where the stores of one user's device stand.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The directory of a user's device below `root`; it is made when a store is opened.
    ///
    /// # Errors
    /// What [`check_name`] says of the names.
    pub fn new(root: impl AsRef<Path>, user: &str, device: &str) -> Result<Self, Error> {
        check_name("user", user)?;
        check_name("device", device)?;
        Ok(Self { root: root.as_ref().join(escape(user)).join(escape(device)) })
    }

    /// The checkpoint of this device with a server of this incarnation.
    ///
    /// # Errors
    /// Those of [`SqliteCheckpoints::open`].
    pub fn checkpoints(&self, incarnation: Incarnation) -> Result<SqliteCheckpoints, Error> {
        SqliteCheckpoints::open(self.root.join(format!("checkpoint-{incarnation}.sqlite")))
    }

    /// What this device has not sent yet to the server of this name (its address, say): see [`SqliteOutgoing::open`].
    ///
    /// # Errors
    /// Those of [`SqliteOutgoing::open`].
    pub fn outgoing(&self, server: &str) -> Result<SqliteOutgoing, Error> {
        SqliteOutgoing::open(self.root.join("outgoing.sqlite"), server)
    }
}

/// A name as part of a path: letters, digits, `-` and `_` as they are, every other byte as `%` and two digits.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    escaped
}

/// An open file and its lock. Fields are dropped in this order.
#[derive(Debug)]
struct Database {
    connection: Connection,
    path: PathBuf,
    _lock: Connection,
}

impl Database {
    /// Opens or makes a file of this kind: `tables` makes version `version` of it.
    fn open(path: PathBuf, version: i32, tables: &str) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            let failed = |error| Error::new(Code::Io, format!("{} cannot be made: {error}", parent.display()));
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let lock = lock(&path)?;
        let connection = connect(&path)?;
        let database = Self { connection, path, _lock: lock };
        database.prepare(version, tables)?;
        Ok(database)
    }

    fn prepare(&self, version: i32, tables: &str) -> Result<(), Error> {
        let number = |pragma: &str| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        let (application, found) =
            self.done(number("application_id").and_then(|id| Ok((id, number("user_version")?))))?;
        let is_new = application == 0 && found == 0;
        if !is_new && (application, found) != (APPLICATION_ID, version) {
            let message = format!("{} is no store of this kind and version {version}", self.path.display());
            return Err(Error::new(Code::Unusable, message));
        }
        // Both survive a power cut once a transaction has returned; WAL lets others read meanwhile.
        let journal = self.connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()));
        self.done(journal.and_then(|()| self.connection.pragma_update(None, "synchronous", "full")))?;
        if is_new {
            let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};");
            self.done(self.connection.execute_batch(&format!("BEGIN IMMEDIATE; {tables} {marks} COMMIT;")))?;
        }
        Ok(())
    }

    /// Names the file in an error.
    fn done<T>(&self, result: rusqlite::Result<T>) -> Result<T, Error> {
        result.map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Code::Unusable,
        _ => Code::Io,
    };
    Error::new(code, format!("{}: {error}", path.display()))
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| failed(path, &error))
}

/// Holds `PATH.lock` until it is dropped.
fn lock(path: &Path) -> Result<Connection, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let lock = connect(&lock_path)?;
    // One who waits for a lock that lasts as long as another program would wait for ever.
    let held = lock.busy_timeout(std::time::Duration::ZERO).and_then(|()| lock.execute_batch("BEGIN EXCLUSIVE"));
    match held {
        Ok(()) => Ok(lock),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            let message = format!("{} is in use by another program", path.display());
            Err(Error::new(Code::Busy, message))
        }
        Err(error) => Err(failed(&lock_path, &error)),
    }
}

#[cfg(test)]
mod tests;
