//! The checkpoint in SQLite, beside whatever the application keeps in the same file.

use super::Database;
use crate::store::{Checkpoint, CheckpointStore};
use bytes::Bytes;
use highwater_proto::error::Error;
use highwater_proto::id::Incarnation;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::{Path, PathBuf};

const VERSION: i32 = 1;
/// One row. Tables of this store begin with `highwater_`; all other names are the application's.
const TABLES: &str = "CREATE TABLE highwater_checkpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation BLOB NOT NULL,
    position INTEGER NOT NULL,
    checkpoint BLOB NOT NULL
) STRICT;";

/// Keeps the checkpoint in a SQLite file, in which the application may keep what it reads, too.
///
/// A checkpoint of an earlier incarnation is given to the server all the same: it answers with a reset, which tells the
/// application to drop what it holds.
#[derive(Debug)]
pub struct SqliteCheckpoints {
    database: Database,
}

impl SqliteCheckpoints {
    /// Opens the file, or makes it, and holds its lock until this is dropped.
    ///
    /// # Errors
    /// `busy` if another program has it open; `unusable` if it is no such store or of another version; `io` otherwise.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self { database: Database::open(path.into(), VERSION, TABLES)? })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.database.path
    }

    /// The connection, for the application's own tables and reads. Their names must not begin with `highwater_`.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.database.connection
    }

    /// Stores what `write` writes and the checkpoint, if there is one, in one transaction; durable when it returns.
    ///
    /// # Errors
    /// Those of `write`, and `io`: nothing was stored then.
    pub fn store_with<T, E: From<Error>>(
        &mut self,
        incarnation: Incarnation,
        checkpoint: Option<&Checkpoint>,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.database.path.clone();
        let failed = |error: rusqlite::Error| E::from(super::failed(&path, &error));
        // Dropped before it is committed, it is rolled back.
        let transaction = self.database.connection.transaction().map_err(failed)?;
        let written = write(&transaction)?;
        if let Some(checkpoint) = checkpoint {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO highwater_checkpoint VALUES (1, ?1, ?2, ?3)",
                    params![&incarnation.0[..], checkpoint.position as i64, &checkpoint.bytes[..]],
                )
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(written)
    }
}

impl CheckpointStore for SqliteCheckpoints {
    fn load(&mut self, _incarnation: Incarnation) -> Result<Option<Checkpoint>, Error> {
        let found = self
            .database
            .connection
            .query_row("SELECT position, checkpoint FROM highwater_checkpoint", [], |row| {
                Ok(Checkpoint { position: row.get::<_, i64>(0)? as u64, bytes: Bytes::from(row.get::<_, Vec<u8>>(1)?) })
            })
            .optional();
        self.database.done(found)
    }

    fn store(&mut self, incarnation: Incarnation, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.store_with(incarnation, Some(checkpoint), |_| Ok(()))
    }
}
