//! Unsent commands and their numbers in SQLite.
//!
//! A device's queue may hold commands for several servers. Which server is meant is known by the name under which the
//! application reaches it, at once, and by its incarnation, after the first contact: a server that moved to another
//! address still gets what was meant for it.

use super::Database;
use crate::command::{LocalId, Message, Numbered, Quote, Recipient};
use crate::store::{OutgoingStore, QueueChange, Queued};
use bytes::BytesMut;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Incarnation;
use highwater_proto::wire::request::Call;
use highwater_proto::wire::{FrameReader, Request, encode_frame};
use rusqlite::{Row, Transaction, params};
use std::path::PathBuf;
use std::sync::Arc;

const VERSION: i32 = 1;
/// `command`: a wire request of number 0. `quote_local`: the quoted local id until it is resolved. `incarnation`: where
/// `number` was given, or would be. AUTOINCREMENT: a local id is never used again.
const TABLES: &str = "
CREATE TABLE highwater_queue (
    local INTEGER PRIMARY KEY AUTOINCREMENT,
    server TEXT NOT NULL,
    incarnation BLOB,
    number INTEGER,
    quote_local INTEGER,
    command BLOB NOT NULL
) STRICT;
";
const COLUMNS: &str = "local, number, quote_local, command";

/// Keeps unsent commands in a SQLite file.
#[derive(Debug)]
pub struct SqliteOutgoing {
    database: Database,
    server: String,
    incarnation: Option<Incarnation>,
}

impl SqliteOutgoing {
    /// Opens the file, or makes it, and holds its lock until this is dropped. `server` is the name under which the
    /// application knows the server; what is queued under another name stays where it is, unless the server turns out to
    /// be the same one.
    ///
    /// # Errors
    /// `busy` if another program has it open; `unusable` if it is no such store or of another version; `io` otherwise.
    pub fn open(path: impl Into<PathBuf>, server: impl Into<String>) -> Result<Self, Error> {
        let database = Database::open(path.into(), VERSION, TABLES)?;
        Ok(Self { database, server: server.into(), incarnation: None })
    }

    fn select(&self, condition: &str, params: impl rusqlite::Params) -> Result<Vec<Queued>, Error> {
        let text = format!("SELECT {COLUMNS} FROM highwater_queue WHERE {condition} ORDER BY local");
        let mut statement = self.database.done(self.database.connection.prepare(&text))?;
        let rows = statement.query_map(params, Stored::read).and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>);
        self.database.done(rows)?.into_iter().map(|stored| stored.parse(&self.database)).collect()
    }

    fn change(&self, transaction: &Transaction<'_>, change: &QueueChange) -> Result<(), Error> {
        let done = match change {
            QueueChange::Add(queued) => {
                let command = encode(&queued.command)?;
                let quote = queued.command.quoted().map(|local| local.0 as i64);
                let number = queued.number.map(|number| number as i64);
                let incarnation = self.incarnation.map(|incarnation| incarnation.0.to_vec());
                transaction.execute(
                    "INSERT INTO highwater_queue VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![queued.local.0 as i64, self.server, incarnation, number, quote, command],
                )
            }
            QueueChange::Number { local, number } => transaction.execute(
                "UPDATE highwater_queue SET number = ?2 WHERE local = ?1",
                params![local.0 as i64, number.map(|number| number as i64)],
            ),
            QueueChange::Quote { local, seq } => {
                let stored = transaction.query_row(
                    &format!("SELECT {COLUMNS} FROM highwater_queue WHERE local = ?1"),
                    [local.0 as i64],
                    Stored::read,
                );
                let mut queued = self.database.done(stored)?.parse(&self.database)?;
                Arc::make_mut(&mut queued.command).resolve_quote(*seq);
                transaction.execute(
                    "UPDATE highwater_queue SET quote_local = NULL, command = ?2 WHERE local = ?1",
                    params![local.0 as i64, encode(&queued.command)?],
                )
            }
            QueueChange::Remove(local) => {
                transaction.execute("DELETE FROM highwater_queue WHERE local = ?1", [local.0 as i64])
            }
        };
        self.database.done(done).map(|_| ())
    }
}

impl OutgoingStore for SqliteOutgoing {
    fn load(&mut self) -> Result<(Vec<Queued>, LocalId), Error> {
        let queued = self.select("server = ?1", [&self.server])?;
        let last = self.database.connection.query_row(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'highwater_queue'), 0)",
            [],
            |row| row.get::<_, i64>(0),
        );
        Ok((queued, LocalId(self.database.done(last)? as u64 + 1)))
    }

    fn bind(&mut self, incarnation: Incarnation) -> Result<Vec<Queued>, Error> {
        self.incarnation = Some(incarnation);
        let adopted = self.select("incarnation = ?1 AND server != ?2", params![&incarnation.0[..], self.server])?;
        // The first makes one server of both names; the second says whose history the numbers to come belong to.
        let transaction = self.database.done(self.database.connection.unchecked_transaction())?;
        for change in [
            "UPDATE highwater_queue SET server = ?1 WHERE incarnation = ?2",
            "UPDATE highwater_queue SET incarnation = ?2 WHERE server = ?1",
        ] {
            self.database.done(transaction.execute(change, params![self.server, &incarnation.0[..]]))?;
        }
        self.database.done(transaction.commit())?;
        Ok(adopted)
    }

    fn apply(&mut self, changes: &[QueueChange]) -> Result<(), Error> {
        // The connection is ours alone, and there is never a transaction within another.
        let transaction = self.database.done(self.database.connection.unchecked_transaction())?;
        changes.iter().try_for_each(|change| self.change(&transaction, change))?;
        self.database.done(transaction.commit())
    }
}

/// A row as it stands in the file.
struct Stored {
    local: i64,
    number: Option<i64>,
    quote_local: Option<i64>,
    command: Vec<u8>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { local: row.get(0)?, number: row.get(1)?, quote_local: row.get(2)?, command: row.get(3)? })
    }

    fn parse(self, database: &Database) -> Result<Queued, Error> {
        let quote = self.quote_local.map(|local| LocalId(local as u64));
        let command = decode(&self.command, quote).ok_or_else(|| {
            let message = format!("{}: unsent command {} is damaged", database.path.display(), self.local);
            Error::new(Code::Unusable, message)
        })?;
        let (local, number) = (LocalId(self.local as u64), self.number.map(|number| number as u64));
        Ok(Queued { local, number, command: Arc::new(command) })
    }
}

fn encode(command: &Numbered) -> Result<Vec<u8>, Error> {
    let mut out = BytesMut::new();
    encode_frame(&Request { id: 0, call: Some(command.to_call(0)) }, &mut out)?;
    Ok(out.to_vec())
}

fn decode(bytes: &[u8], quote_local: Option<LocalId>) -> Option<Numbered> {
    let mut reader = FrameReader::new();
    reader.push(bytes);
    let request: Request = reader.next().ok()??;
    match request.call? {
        Call::Send(send) => {
            let recipient = match send.conversation.is_empty() {
                true => Recipient::User(send.to),
                false => Recipient::Conversation(send.conversation),
            };
            let quote = match (quote_local, send.quote) {
                (Some(local), _) => Quote::Local(local),
                (None, Some(seq)) => Quote::Seq(seq),
                (None, None) => Quote::None,
            };
            let (body, mentions, sent_at_ms) = (send.body, send.mentions, send.sent_at_ms);
            Some(Numbered::Send(Message { recipient, body, quote, mentions, sent_at_ms }))
        }
        Call::Edit(edit) => {
            Some(Numbered::Edit { conversation: edit.conversation, target: edit.target, body: edit.body })
        }
        Call::Recall(recall) => Some(Numbered::Recall { conversation: recall.conversation, target: recall.target }),
        _ => None,
    }
}
