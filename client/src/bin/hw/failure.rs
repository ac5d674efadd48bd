//! Why a command ends without having done its work, and with which exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 not allowed or not found.

use highwater_proto::error::{Code, Error};
use serde::Serialize;
use std::io::Write;

/// What stands for a code where the command line itself is wrong.
const USAGE: &str = "usage";

/// An error with all that its reader needs.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `None`: the command line is wrong.
    code: Option<Code>,
    message: String,
    limit: Option<String>,
    value: Option<u64>,
    queued: bool,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    kind: &'static str,
    code: &'a str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    queued: bool,
}

impl Failure {
    /// The command line contradicts itself, or lacks something.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: None, ..Self::from(Error::new(Code::InvalidArgument, message)) }
    }

    /// A file or argument holds what it must not.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::new(Code::InvalidArgument, message).into()
    }

    /// Reading or writing something of this machine failed.
    pub(crate) fn io(message: impl Into<String>) -> Self {
        Error::new(Code::Io, message).into()
    }

    /// What arrived is not what was sent.
    pub(crate) fn mismatch(message: impl Into<String>) -> Self {
        Error::new(Code::Corrupt, message).into()
    }

    /// The message waits in the state directory and goes out with the next send.
    pub(crate) fn queued(mut self) -> Self {
        self.queued = true;
        self
    }

    /// What went wrong, for people.
    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether the server could not be reached, or went away before it answered.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.exit() == 3
    }

    /// Whether the server has refused the command: nothing was done, and it is not kept for later.
    pub(crate) fn is_refusal(&self) -> bool {
        use Code::{
            AlreadyAccepted, Conflict, InvalidArgument, LimitExceeded, NotAllowed, NotFound, OutOfOrder, Recalled,
        };
        let refusals =
            [AlreadyAccepted, Conflict, InvalidArgument, LimitExceeded, NotAllowed, NotFound, OutOfOrder, Recalled];
        self.code.is_some_and(|code| refusals.contains(&code))
    }

    /// Whether the same command may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        self.code.is_some_and(Code::is_retryable)
    }

    /// The exit code of the process.
    pub(crate) fn exit(&self) -> u8 {
        match self.code {
            None => 2,
            Some(Code::Unreachable | Code::OutcomeUnknown) => 3,
            Some(Code::NotAllowed | Code::NotFound | Code::Unauthenticated | Code::TokenExpired) => 4,
            Some(_) => 1,
        }
    }

    fn code(&self) -> &'static str {
        self.code.map_or(USAGE, Code::as_str)
    }

    /// Says it on standard error. That nobody reads there is no reason to fail differently.
    pub(crate) fn report(&self, json: bool) {
        let line = if json { self.to_json() } else { self.to_text() };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn to_json(&self) -> String {
        let line = ErrorLine {
            kind: "error",
            code: self.code(),
            message: &self.message,
            retryable: self.is_retryable(),
            limit: self.limit.as_deref(),
            value: self.value,
            queued: self.queued,
        };
        serde_json::to_string(&line).expect("strings and numbers can always be written as JSON")
    }

    fn to_text(&self) -> String {
        let kept =
            if self.queued { " (the message is kept: `hw send --flush` or the next send delivers it)" } else { "" };
        format!("hw: {}: {}{kept}", self.code(), crate::text::escape(&self.message))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: Some(error.code), message: error.message, limit: error.limit, value: error.value, queued: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_exit_code() {
        for code in Code::ALL {
            let expected = match code {
                Code::Unreachable | Code::OutcomeUnknown => 3,
                Code::NotAllowed | Code::NotFound | Code::Unauthenticated | Code::TokenExpired => 4,
                _ => 1,
            };
            assert_eq!(Failure::from(Error::new(code, "")).exit(), expected, "{code}");
        }
        assert_eq!(Failure::usage("").exit(), 2);
    }

    #[test]
    fn json_has_the_documented_form() {
        let failure = Failure::from(Error::limit("body_bytes_max", 65_536, "body has 65537 bytes"));
        let expected = concat!(
            r#"{"kind":"error","code":"limit_exceeded","message":"body has 65537 bytes; the limit body_bytes_max is 65536","#,
            r#""retryable":false,"limit":"body_bytes_max","value":65536}"#
        );
        assert_eq!(failure.to_json(), expected);
        let failure = Failure::from(Error::new(Code::Unreachable, "no answer")).queued();
        let expected = r#"{"kind":"error","code":"unreachable","message":"no answer","retryable":true,"queued":true}"#;
        assert_eq!(failure.to_json(), expected);
        let expected = r#"{"kind":"error","code":"usage","message":"no text","retryable":false}"#;
        assert_eq!(Failure::usage("no text").to_json(), expected);
    }
}
