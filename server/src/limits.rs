//! What one connection may cost, and how many there may be.
//!
//! `docs/operating.md` adds these up to the memory that a connection can take.

use highwater_proto::limits::{MEMBERS_PER_CHANGE_MAX, WIRE_FRAME_BYTES_MAX};

/// How many connections a server takes, in all and before they have authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Most connections at once; further ones are refused.
    pub connections_max: usize,
    /// Most connections at once that have not authenticated yet; further ones are refused. Above half of it, a client
    /// has to prove its address first (a retry packet), so that forged addresses cannot fill it.
    pub unauthenticated_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { connections_max: 20_000, unauthenticated_max: 1_000 }
    }
}

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4 << 10;
/// Longest first frame of a connection, in bytes: a token and two names.
pub const HELLO_BYTES_MAX: usize = TOKEN_BYTES_MAX + 256;
/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 1 << 10;
/// Most queries of one connection at once; the client cannot open more streams.
pub const QUERIES_AT_ONCE_MAX: u32 = 8;
/// Most reads of the store at once, over all connections; others wait.
pub const READS_AT_ONCE_MAX: usize = 16;
/// Most pages of catching-up devices that are read from memory in one round of the runtime, over all connections.
pub const CATCH_UP_PAGES_PER_ROUND: usize = 4;

/// Bytes that a connection may have sent and that were not read yet, before it has authenticated.
pub const UNAUTHENTICATED_WINDOW_BYTES: u32 = 16 << 10;
/// Bytes that are sent to a peer before it has acknowledged anything, in packets that are spread over a round trip: 32 of
/// the usual size, as Chromium's QUIC has it (`kInitialCongestionWindow`). The ten that RFC 9002, section 7.2, recommends make
/// a page of what a device missed wait for its peer several times.
pub const INITIAL_WINDOW_BYTES: u64 = 32 * 1_452;
/// Bytes that a stream may have received and that were not read yet.
pub const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes that a connection may have received, over all streams, and that were not read yet.
pub const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// Bytes that may have been written to a connection and that its peer has not acknowledged.
pub const SEND_WINDOW_BYTES: u64 = 1 << 20;

/// Bytes of a command's body that are paid for by one unit of `commands_in_flight_max`.
pub const COMMAND_UNIT_BYTES: usize = 4 << 10;
/// Members named by a command that are paid for by one unit of `commands_in_flight_max`: the answer names them too.
pub const COMMAND_UNIT_MEMBERS: usize = 16;

/// Bytes of records at which a page of a list is cut.
pub const ANSWER_BYTES_MAX: usize = 512 << 10;

/// A token is accepted until this long after its `exp`, in ms, for clocks that differ.
pub const TOKEN_LEEWAY_MS: u64 = 5_000;

// A frame that answers a membership change, and a page that was cut at its limit, fit the wire.
const _: () = assert!(MEMBERS_PER_CHANGE_MAX * 80 < WIRE_FRAME_BYTES_MAX);
const _: () = assert!(ANSWER_BYTES_MAX < WIRE_FRAME_BYTES_MAX);
