//! What the whole-system tests share.
//!
//! - [`model`]: the plain reference model. It keeps every record in one vector and works everything else out from
//!   scratch, so that it is right at a glance; it knows no heads, no inboxes and no fan-out.
//! - [`world`]: an engine and a model side by side, driven by the same commands and compared after each of them.
//! - [`plan`]: random commands as small data, so that a failing case can be shrunk and printed.
//!
//! The test binaries stand in `tests/tests`: few, since each links RocksDB.

pub mod model;
pub mod plan;
pub mod world;
