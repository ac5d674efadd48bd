//! Family `names`: the names that ids stand for. The way from name to id is kept in memory, made from these rows.
//!
//! Key: kind of name (1 user, 2 device, 3 conversation), id. Value: the name. Ids of a kind are dense from 1; a name
//! never changes, so a row is written once.

use super::codec::fixed;
use highwater_proto::error::Damage;
use highwater_proto::id::check_name;
use std::sync::Arc;

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    User,
    Device,
    Conversation,
}

impl Named {
    const fn byte(self) -> u8 {
        match self {
            Named::User => 1,
            Named::Device => 2,
            Named::Conversation => 3,
        }
    }
}

pub(super) fn key(named: Named, id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [named.byte(), a, b, c, d]
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(Named, u32, Arc<str>), Damage> {
    let [kind, id @ ..] = fixed::<5>(key)?;
    let named = match kind {
        1 => Named::User,
        2 => Named::Device,
        3 => Named::Conversation,
        other => return Err(Damage::new(format!("names of kind {other} are unknown"))),
    };
    let name = std::str::from_utf8(value).map_err(|_| Damage::new("a name is not UTF-8"))?;
    check_name("a name", name).map_err(|error| Damage::new(error.message))?;
    Ok((named, u32::from_be_bytes(id), name.into()))
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        for (named, byte) in [(Named::User, 1), (Named::Device, 2), (Named::Conversation, 3)] {
            let key = key(named, 258);
            assert_eq!(key, [byte, 0, 0, 1, 2]);
            assert_eq!(decode(&key, "Zoë".as_bytes()), Ok((named, 258, "Zoë".into())));
            check::refuses_all_but(&key, |key| decode(key, b"name"));
        }
        check::ascend(&[
            key(Named::User, 255),
            key(Named::User, 256),
            key(Named::Device, 1),
            key(Named::Conversation, 0),
        ]);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for value in [&b""[..], &[b'a'; 65], b"a\n", &[0xff]] {
            assert!(decode(&key(Named::User, 1), value).is_err(), "{value:?}");
        }
    }
}
