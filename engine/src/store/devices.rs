//! Family `devices`: the numbers of a user's devices, kept for ever; names stand in `names`.
//!
//! Key: user, device. Value: flags (1 registered), last accepted `client_seq`, position of its record.

use super::codec::{Fields, decode_pair_key, pair_key};
use crate::state::{Changed, Device};
use highwater_proto::error::Damage;
use highwater_proto::id::{DeviceId, Position, UserId};
use highwater_proto::varint;
use std::sync::Arc;

const REGISTERED: u8 = 1;

pub(super) fn key(user: UserId, device: DeviceId) -> [u8; 8] {
    pair_key(user.0, device.0)
}

pub(super) fn decode_key(key: &[u8]) -> Result<(UserId, DeviceId), Damage> {
    let (user, device) = decode_pair_key(key)?;
    Ok((UserId(user), DeviceId(device)))
}

pub(super) fn value(device: &Device) -> Vec<u8> {
    let mut value = vec![if device.registered { REGISTERED } else { 0 }];
    varint::put(&mut value, device.last_client_seq);
    varint::put(&mut value, device.last_position.0);
    value
}

pub(super) fn decode_value(name: Arc<str>, user: UserId, value: &[u8]) -> Result<Device, Damage> {
    let mut fields = Fields::new(value);
    let flags = fields.byte("flags")?;
    if flags & !REGISTERED != 0 {
        return Err(Damage::new(format!("flags {flags:#x} are unknown")));
    }
    let device = Device {
        changed: Changed::default(),
        name,
        user,
        registered: flags & REGISTERED != 0,
        last_client_seq: fields.number("last client_seq")?,
        last_position: Position(fields.number("position of the last client_seq")?),
    };
    fields.finish()?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        assert_eq!(key(UserId(258), DeviceId(3)), [0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(decode_key(&key(UserId(258), DeviceId(3))), Ok((UserId(258), DeviceId(3))));
        for (registered, bytes) in [(true, [1, 0xac, 2, 9]), (false, [0, 0xac, 2, 9])] {
            let device = Device {
                changed: Changed::default(),
                name: "d".into(),
                user: UserId(258),
                registered,
                last_client_seq: 300,
                last_position: Position(9),
            };
            assert_eq!(value(&device), bytes);
            let text = |value: &[u8]| decode_value("d".into(), UserId(258), value).map(|device| format!("{device:?}"));
            assert_eq!(text(&bytes), Ok(format!("{device:?}")));
            check::refuses_all_but(&bytes, text);
        }
    }
}
