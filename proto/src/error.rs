//! One error for engine, wire and client: what went wrong, whether to retry, whether anything may have happened.

use std::borrow::Cow;
use std::fmt;

/// What went wrong, as callers and programs tell it apart.
///
/// The string form ([`Code::as_str`]) is stable: it stands in the JSON of the command lines and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A field is missing, malformed or contradicts another.
    InvalidArgument,
    /// A named limit would be exceeded; the error carries the limit's name and value.
    LimitExceeded,
    /// The caller may not do this, to something that it may see.
    NotAllowed,
    /// No such thing, or nothing that the caller may see.
    NotFound,
    /// The number, id or name was used for something else.
    Conflict,
    /// `client_seq` is above what was expected; the error's value is the expected number.
    OutOfOrder,
    /// The number was used so long ago that the record cannot be compared any more; it was accepted then.
    AlreadyAccepted,
    /// A newer send session of the same device took over.
    Replaced,
    /// The token is missing, malformed, not signed by a known key, or not for this server.
    Unauthenticated,
    /// The token's time is over.
    TokenExpired,
    /// The target of an edit was recalled.
    Recalled,
    /// The server is full or draining; nothing was done. Retry later.
    Busy,
    /// No space on the server's disk: reads go on, writes are refused until there is space again.
    ReadOnly,
    /// The connection or the store went away; whether the command took effect is not known.
    OutcomeUnknown,
    /// The server cannot be reached.
    Unreachable,
    /// The peer broke the protocol.
    Protocol,
    /// Stored bytes are damaged; the message names file, offset and position.
    Corrupt,
    /// The store stopped after a failed write or sync; the process has to be restarted.
    Poisoned,
    /// Reading or writing failed; the message says what and where.
    Io,
    /// The store is in use by another process, or of a format that this build does not know.
    Unusable,
}

impl Code {
    /// All codes, in their order on the wire: the number of a code there is its index plus 1.
    pub const ALL: [Code; 20] = [
        Code::InvalidArgument,
        Code::LimitExceeded,
        Code::NotAllowed,
        Code::NotFound,
        Code::Conflict,
        Code::OutOfOrder,
        Code::AlreadyAccepted,
        Code::Replaced,
        Code::Unauthenticated,
        Code::TokenExpired,
        Code::Recalled,
        Code::Busy,
        Code::ReadOnly,
        Code::OutcomeUnknown,
        Code::Unreachable,
        Code::Protocol,
        Code::Corrupt,
        Code::Poisoned,
        Code::Io,
        Code::Unusable,
    ];

    /// The stable name, for example `limit_exceeded`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "invalid_argument",
            Code::LimitExceeded => "limit_exceeded",
            Code::NotAllowed => "not_allowed",
            Code::NotFound => "not_found",
            Code::Conflict => "conflict",
            Code::OutOfOrder => "out_of_order",
            Code::AlreadyAccepted => "already_accepted",
            Code::Replaced => "replaced",
            Code::Unauthenticated => "unauthenticated",
            Code::TokenExpired => "token_expired",
            Code::Recalled => "recalled",
            Code::Busy => "busy",
            Code::ReadOnly => "read_only",
            Code::OutcomeUnknown => "outcome_unknown",
            Code::Unreachable => "unreachable",
            Code::Protocol => "protocol",
            Code::Corrupt => "corrupt",
            Code::Poisoned => "poisoned",
            Code::Io => "io",
            Code::Unusable => "unusable",
        }
    }

    /// Whether the same command may succeed later without being changed.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Code::Busy | Code::ReadOnly | Code::OutcomeUnknown | Code::Unreachable)
    }

    /// Whether the command may have taken effect although this error came back.
    ///
    /// A numbered send is retried with the same `client_seq` then: it is accepted once at most.
    pub const fn may_have_happened(self) -> bool {
        matches!(self, Code::OutcomeUnknown | Code::Poisoned | Code::AlreadyAccepted)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error: a code for programs, a message for people, and the limit or value concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub code: Code,
    /// What went wrong, in a sentence that names the field, file or number.
    pub message: String,
    /// The name of the limit, with [`Code::LimitExceeded`].
    pub limit: Option<String>,
    /// The limit's value with [`Code::LimitExceeded`], the expected number with [`Code::OutOfOrder`].
    pub value: Option<u64>,
}

impl Error {
    /// An error without a limit.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), limit: None, value: None }
    }

    /// A limit was exceeded: `name` and `value` are the limit's, `what` says what exceeded it.
    pub fn limit(name: &str, value: u64, what: impl fmt::Display) -> Self {
        Self {
            code: Code::LimitExceeded,
            message: format!("{what}; the limit {name} is {value}"),
            limit: Some(name.to_owned()),
            value: Some(value),
        }
    }

    /// `client_seq` is too high: `expected` is the one that would be accepted.
    pub fn out_of_order(given: u64, expected: u64) -> Self {
        Self {
            code: Code::OutOfOrder,
            message: format!("client_seq {given} was given where {expected} is expected"),
            limit: None,
            value: Some(expected),
        }
    }

    /// Whether the same command may succeed later without being changed.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

/// Stored bytes that nothing of ours wrote: what is wrong with them. Whoever knows the file and offset adds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(Cow<'static, str>);

impl Damage {
    /// Says what is wrong, in half a sentence.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damage {}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::new(Code::Corrupt, damage.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_once_and_named_apart() {
        let names: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
