//! How far a read may reach. An async thread must not wait for a disk, so a read can be confined to what is in memory;
//! it is the same read, and stops where it would have to go further.

use highwater_proto::error::{Code, Error};

/// How far a read may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To what is in memory: state, heads, the tail of the log, cached blocks of the index. No system calls.
    Memory,
    /// To the disk, which may take its time.
    Disk,
}

/// Why a read stops before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// What it needs next is not in memory, and it may not reach further.
    OutOfReach,
    /// It failed.
    Failed(Error),
}

/// An answer; `None` if the read would have had to reach further than it may.
pub(crate) fn within_reach<T>(result: Result<T, Halt>) -> Result<Option<T>, Error> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(Halt::OutOfReach) => Ok(None),
        Err(Halt::Failed(error)) => Err(error),
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// For reads that may reach to the disk: they never stop for [`Halt::OutOfReach`].
impl From<Halt> for Error {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Failed(error) => error,
            Halt::OutOfReach => Error::new(Code::Io, "a read that may use the disk was confined to memory"),
        }
    }
}
