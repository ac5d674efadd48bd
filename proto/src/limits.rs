//! Every limit, named once, with its unit. Those a server may change are fields of [`Limits`].

/// Longest user, device or conversation id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 64;
/// Most mentions in one message.
pub const MENTIONS_MAX: usize = 64;
/// Most edits of one message; about as many more may be in flight at once.
pub const EDITS_PER_MESSAGE_MAX: usize = 1_000;
/// How often a user may become a member of the same conversation: what keeps its intervals bounded.
pub const INTERVALS_PER_MEMBER_MAX: usize = 1_000;
/// Longest frame on the wire, in bytes, its length prefix not counted.
pub const WIRE_FRAME_BYTES_MAX: usize = 1 << 20;
/// Most users named by one membership change.
pub const MEMBERS_PER_CHANGE_MAX: usize = 1_000;
/// Most members of a conversation whose messages are fanned out on write, pinned or not.
pub const WRITE_MEMBERS_MAX: usize = 65_536;
/// How many numbered records of a device a repeat is looked for before it is answered with `already_accepted`.
pub const REPEAT_WALK_MAX: u64 = 4_096;
/// Most entries of a packed list that are stored under one key.
pub const PACKED_ENTRIES_MAX: usize = 512;
/// Most entries on one page of a list (history, conversations, members).
pub const PAGE_ENTRIES_MAX: usize = 500;
/// Most records in one delta.
pub const DELTA_RECORDS_MAX: usize = 1_000;
/// Most bytes of record bodies in one delta; a delta holds at least one record whatever its size.
pub const DELTA_BYTES_MAX: usize = 256 << 10;

/// The limits that an engine enforces and a server tells its clients. The defaults are the recommendation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a message or an edit, in bytes; empty is allowed. At most 512 KiB, so that it fits a wire frame.
    pub body_bytes_max: usize,
    /// Most registered devices of a user; read sessions register none.
    pub devices_per_user_max: usize,
    /// Most current members of a conversation.
    pub members_per_conversation_max: usize,
    /// Most current conversations of a user.
    pub conversations_per_user_max: usize,
    /// Most commands of one session that are not answered yet.
    pub commands_in_flight_max: usize,
    /// Most bytes of commands waiting for the sequencer, over all sessions.
    pub queue_bytes_max: usize,
    /// Most users, devices and conversations that may be known in all: what keeps resident state bounded.
    pub names_max: usize,
    /// Most member rows (a user in a conversation, past or present) in all: what keeps resident state bounded.
    pub member_rows_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 10,
            devices_per_user_max: 32,
            members_per_conversation_max: 1_000_000,
            conversations_per_user_max: 50_000,
            commands_in_flight_max: 256,
            queue_bytes_max: 64 << 20,
            names_max: 50_000_000,
            member_rows_max: 50_000_000,
        }
    }
}

/// Largest `body_bytes_max` that may be configured, in bytes.
pub const BODY_BYTES_CONFIGURABLE_MAX: usize = 512 << 10;
