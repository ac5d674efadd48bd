//! The embedded timeline engine of Highwater.

pub mod command;
pub mod entry;
pub mod log;
pub mod options;

mod commit;
mod engine;
mod lock;
mod state;
mod store;
mod timeline;
pub mod inspect;
pub mod verify;

pub use command::{Caller, Command, Outcome, Receipt, SendSession};
pub use engine::Engine;
pub use highwater_proto as proto;
pub use options::Options;
