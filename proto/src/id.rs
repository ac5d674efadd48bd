//! Identifiers: numbers that must never be mistaken for one another, and the names users give.

use crate::error::{Code, Error};
use crate::limits::ID_BYTES_MAX;
use sha2::{Digest, Sha256};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The value before the first one; in stored and wire fields it says *none*.
            pub const ZERO: Self = Self(0);

            /// The one after this.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// Whether this is the value before the first one.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A record's index in the log, contiguous from 1. Commit order is position order.
    Position(u64)
);
number!(
    /// A record's number within its conversation, contiguous from 1.
    Seq(u64)
);
number!(
    /// How many countable records (messages) a conversation has up to and including a seq.
    Ordinal(u64)
);
number!(
    /// A user's interned id, from 1; 0 stands for the service or nobody.
    UserId(u32)
);
number!(
    /// A device's interned id, from 1, unique over all users; 0 stands for none.
    DeviceId(u32)
);
number!(
    /// A conversation's interned id, from 1; 0 stands for none.
    ConversationId(u32)
);
number!(
    /// Counts the unclean openings of a store, from 1.
    Epoch(u32)
);

/// Random id of a store's history; it changes when history is not a continuation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Refuses a user, device or conversation name outside the limits.
///
/// A name is 1 to [`ID_BYTES_MAX`] bytes of UTF-8 without control characters; it is compared byte by byte.
/// `what` names the field in the error.
pub fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{what} is empty; 1 to {ID_BYTES_MAX} bytes are allowed"),
        ));
    }
    if name.len() > ID_BYTES_MAX {
        return Err(Error::limit("id_bytes_max", ID_BYTES_MAX as u64, format!("{what} has {} bytes", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::new(Code::InvalidArgument, format!("{what} holds a control character")));
    }
    Ok(())
}

/// Prefix of the canonical ids of direct conversations; no other conversation may use it.
pub const DIRECT_PREFIX: &str = "dm:";

/// How many bytes of a digest stand in a direct conversation's id, in hexadecimal.
const DIGEST_BYTES: usize = 20;

/// The canonical id of the direct conversation of two users, or of one and its notes to self.
///
/// It is the same whoever comes first, differs for any other pair, begins with [`DIRECT_PREFIX`] and has at most
/// [`ID_BYTES_MAX`] bytes. It names both users where that is unambiguous and short enough (`dm:alice,bob`); else it is
/// a digest of them (`dm:#` and 40 hexadecimal digits).
pub fn direct_name(a: &str, b: &str) -> String {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    // Neither a comma nor a number sign is plain, so that no two pairs, and no digest, read alike.
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let readable_bytes = DIRECT_PREFIX.len() + first.len() + 1 + second.len();
    if is_plain(first) && is_plain(second) && readable_bytes <= ID_BYTES_MAX {
        return format!("{DIRECT_PREFIX}{first},{second}");
    }
    let mut hasher = Sha256::new();
    for name in [first, second] {
        hasher.update((name.len() as u64).to_be_bytes());
        hasher.update(name.as_bytes());
    }
    let digest = hasher.finalize();
    let hex: String = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{DIRECT_PREFIX}#{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_within_the_limits_pass() {
        let longest = "x".repeat(ID_BYTES_MAX);
        for (name, code) in [
            ("a", None),
            ("two words", None),
            ("\u{65e5}\u{672c}", None),
            (longest.as_str(), None),
            ("", Some(Code::InvalidArgument)),
            ("a\nb", Some(Code::InvalidArgument)),
            ("a\u{85}", Some(Code::InvalidArgument)),
            (&format!("{longest}x"), Some(Code::LimitExceeded)),
        ] {
            assert_eq!(check_name("user", name).err().map(|error| error.code), code, "{name:?}");
        }
    }

    #[test]
    fn direct_names() {
        let long = "x".repeat(30);
        for (a, b, name) in [
            ("alice", "bob", "dm:alice,bob"),
            ("bob", "alice", "dm:alice,bob"),
            ("alice", "alice", "dm:alice,alice"),
            ("a.b_c-D9", "Z", "dm:Z,a.b_c-D9"),
            (&long, &long, &format!("dm:{long},{long}")),
            ("a,b", "c", "dm:#e64eccb07ee2f37aadc201ac056a5bc1b9147e3c"),
        ] {
            assert_eq!(direct_name(a, b), name);
        }
        let longer = "x".repeat(31);
        assert!(direct_name(&long, &longer).starts_with("dm:#"), "65 bytes are too many");
    }

    #[test]
    fn pairs_that_read_alike_have_different_names() {
        let pairs = [("a,b", "c"), ("a", "b,c"), ("ab", "c d"), ("abc", " d"), ("#", "a"), ("", "#a"), ("\u{e9}", "e")];
        let names: std::collections::BTreeSet<String> = pairs.iter().map(|(a, b)| direct_name(a, b)).collect();
        assert_eq!(names.len(), pairs.len());
    }

    proptest! {
        #[test]
        fn a_direct_name_is_a_name_and_symmetric(a in "\\PC{1,16}", b in "\\PC{1,16}") {
            let name = direct_name(&a, &b);
            prop_assert_eq!(&name, &direct_name(&b, &a));
            prop_assert!(name.starts_with(DIRECT_PREFIX));
            prop_assert!(check_name("conversation", &name).is_ok());
        }
    }
}
