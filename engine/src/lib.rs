//! The embedded timeline engine of Highwater: conversations, inboxes and outboxes over one append-only log.
//!
//! An [`Engine`] is one open store in a directory. [Commands](Command) change it, one after the other in one order; reads
//! see what is durable and applied, nothing else. The engine has threads of its own and no async runtime; every method
//! may be called from any thread.
//!
//! ```
//! use highwater_engine::command::{Destination, OpenSession, Send};
//! use highwater_engine::entry::{Start, SyncLimits};
//! use highwater_engine::{Command, Engine, Options, Outcome};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let engine = Engine::open(directory.path(), Options::default())?;
//! for user in ["ada", "grace"] {
//!     engine.execute(Command::CreateUser { user: user.into() })?;
//! }
//!
//! // A device numbers what it sends; a newer session of the same device takes over.
//! let open = OpenSession { user: "ada".into(), device: "phone".into(), by_service: false, on_replaced: Box::new(|| {}) };
//! let Outcome::Session(session) = engine.execute(Command::OpenSession(open))? else { unreachable!() };
//! let outcome = engine.execute(Command::Send(Send {
//!     session,
//!     client_seq: session.last_client_seq + 1,
//!     destination: Destination::User("grace".into()),
//!     body: "Good morning.".into(),
//!     quote: None,
//!     mentions: Vec::new(),
//!     sent_at_ms: None,
//! }))?;
//! assert!(matches!(outcome, Outcome::Receipt(_)));
//!
//! // Whoever missed it catches up, and goes on from the delta's checkpoint later.
//! let delta = engine.sync("grace", Start::Beginning, SyncLimits::default())?;
//! assert_eq!(delta.records.len(), 2, "the conversation's beginning and its first message");
//! assert!(delta.caught_up);
//! engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! What is promised stands in `docs/guarantees.md`, how it comes about in `ARCHITECTURE.md`, the bytes in
//! `docs/format.md`.

pub mod command;
pub mod entry;
pub mod inspect;
pub mod log;
pub mod options;
pub mod usage;
pub mod verify;

mod commit;
mod engine;
mod lock;
mod priority;
mod reach;
mod state;
mod store;
mod sync;
mod timeline;

pub use command::{Caller, Command, Outcome, Receipt, SendSession};
pub use engine::Engine;
pub use highwater_proto as proto;
pub use options::Options;
pub use timeline::Subscription;
pub use usage::Usage;
