//! Benchmarks of Highwater: `./x bench`. The programs stand in `benches/`; this crate is what they share.

use highwater_engine::command::{Destination, OpenSession, Send};
use highwater_engine::{Command, Engine, Options, Outcome, SendSession};
use tempfile::TempDir;

/// An engine in a temporary directory with users `u0`, `u1`, ... that are known.
pub struct Bench {
    /// The engine.
    pub engine: Engine,
    _directory: TempDir,
}

impl Bench {
    /// Opens an empty store with so many users.
    ///
    /// # Panics
    /// If the machine has no room for it: a benchmark has nobody else to tell.
    pub fn with_users(users: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = Engine::open(directory.path(), Options::default()).expect("an empty store opens");
        for user in 0..users {
            let created = Command::CreateUser { user: format!("u{user}").into() };
            engine.execute(created).expect("a user is created");
        }
        Self { engine, _directory: directory }
    }

    /// A send session of a user's device.
    ///
    /// # Panics
    /// If the user is not one of the store's.
    pub fn session(&self, user: usize) -> SendSession {
        let open = OpenSession {
            user: format!("u{user}").into(),
            device: "bench".into(),
            by_service: false,
            on_replaced: Box::new(|| {}),
        };
        match self.engine.execute(Command::OpenSession(open)) {
            Ok(Outcome::Session(session)) => session,
            other => panic!("no session was opened: {other:?}"),
        }
    }
}

/// A message of 200 bytes from a session to a user.
pub fn message(session: SendSession, client_seq: u64, to: usize) -> Command {
    Command::Send(Send {
        session,
        client_seq,
        destination: Destination::User(format!("u{to}").into()),
        body: vec![b'x'; 200].into(),
        quote: None,
        mentions: Vec::new(),
        sent_at_ms: None,
    })
}
