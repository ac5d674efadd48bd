//! Family `acknowledged`: what devices said about themselves. Soft state: written when a persist comes by, lost with an
//! unclean stop, and no part of what the log says. It has rows of its own so that it is never written with the rest.
//!
//! Key: device. Value: position of the acknowledged checkpoint, time when the device was last seen in ms.

use super::SoftDevice;
use super::codec::{Fields, fixed};
use highwater_proto::error::Damage;
use highwater_proto::id::{DeviceId, Position};
use highwater_proto::varint;

pub(super) fn key(device: DeviceId) -> [u8; 4] {
    device.0.to_be_bytes()
}

pub(super) fn value(soft: &SoftDevice) -> Vec<u8> {
    let mut value = Vec::new();
    varint::put(&mut value, soft.acknowledged.0);
    varint::put(&mut value, soft.last_seen_ms);
    value
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(DeviceId, SoftDevice), Damage> {
    let device = DeviceId(u32::from_be_bytes(fixed(key)?));
    let mut fields = Fields::new(value);
    let soft = SoftDevice {
        acknowledged: Position(fields.number("acknowledged position")?),
        last_seen_ms: fields.number("time last seen")?,
    };
    fields.finish()?;
    Ok((device, soft))
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        let soft = SoftDevice { acknowledged: Position(300), last_seen_ms: 5 };
        let (key, value) = (key(DeviceId(258)), value(&soft));
        assert_eq!((key, &value[..]), ([0, 0, 1, 2], &[0xac, 2, 5][..]));
        assert_eq!(decode(&key, &value), Ok((DeviceId(258), soft)));
        check::refuses_all_but(&key, |key| decode(key, &value));
        check::refuses_all_but(&value, |value| decode(&key, value));
    }
}
