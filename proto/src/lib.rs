//! What every part of Highwater agrees on: identifiers, limits, errors, the wire messages and the stored bytes.
//!
//! Nothing here does I/O, knows a clock or links RocksDB, so that clients, fuzzers and tools can use it alone.
//!
//! - [`id`]: positions, sequence numbers and interned ids as distinct types; names as users write them.
//! - [`limits`]: every limit, named once, with its unit.
//! - [`error`]: one error, its codes, and what a caller should do about each.
//! - [`checkpoint`]: what a device holds.
//! - [`record`]: the stored facts and their codec; [`packed`]: packed lists of positions;
//!   [`frame`]: groups of records as they stand in the log, and the decision *torn or corrupt?*.
//! - [`wire`]: the messages on a connection and their framing.

pub mod checkpoint;
pub mod error;
pub mod frame;
pub mod id;
pub mod limits;
pub mod packed;
pub mod record;
pub mod varint;
pub mod wire;
