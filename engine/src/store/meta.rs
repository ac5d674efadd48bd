//! Family `meta`: what the index as a whole says. Three rows, by name.
//!
//! - `format`: the format's version, a varint, alone under its key for ever, whatever the version.
//! - `incarnation`: 16 bytes.
//! - `applied`: the position that every other row is consistent with, time of that record in ms, current epoch, count
//!   of past epochs, and per past epoch its number and its last position. Written by every persist.
//!
//! A horizon above zero and further generations will have rows of their own, under a new version.

use super::codec::{Fields, fixed};
use crate::state::State;
use highwater_proto::error::Damage;
use highwater_proto::id::{Epoch, Incarnation, Position};
use highwater_proto::varint;

/// The version that this build reads and writes.
pub(super) const FORMAT: u64 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"format";
pub(super) const INCARNATION_KEY: &[u8] = b"incarnation";
pub(super) const APPLIED_KEY: &[u8] = b"applied";

/// The row that says how far the index has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) applied: Position,
    pub(super) time_ms: u64,
    pub(super) epoch: Epoch,
    pub(super) epoch_ends: Vec<(Epoch, Position)>,
}

impl From<&State> for Applied {
    fn from(state: &State) -> Self {
        Self {
            applied: state.applied,
            time_ms: state.time_ms,
            epoch: state.epoch,
            epoch_ends: state.epoch_ends.clone(),
        }
    }
}

pub(super) fn format_value() -> Vec<u8> {
    let mut value = Vec::new();
    varint::put(&mut value, FORMAT);
    value
}

pub(super) fn decode_format(value: &[u8]) -> Result<u64, Damage> {
    let mut fields = Fields::new(value);
    let version = fields.number("version")?;
    fields.finish()?;
    Ok(version)
}

pub(super) fn decode_incarnation(value: &[u8]) -> Result<Incarnation, Damage> {
    fixed(value).map(Incarnation)
}

pub(super) fn applied_value(applied: &Applied) -> Vec<u8> {
    let mut value = Vec::new();
    varint::put(&mut value, applied.applied.0);
    varint::put(&mut value, applied.time_ms);
    varint::put(&mut value, u64::from(applied.epoch.0));
    varint::put(&mut value, applied.epoch_ends.len() as u64);
    for (epoch, end) in &applied.epoch_ends {
        varint::put(&mut value, u64::from(epoch.0));
        varint::put(&mut value, end.0);
    }
    value
}

pub(super) fn decode_applied(value: &[u8]) -> Result<Applied, Damage> {
    let mut fields = Fields::new(value);
    let applied = Position(fields.number("applied position")?);
    let time_ms = fields.number("time")?;
    let epoch = Epoch(fields.id("epoch")?);
    let count = fields.count("count of epochs")?;
    let mut epoch_ends = Vec::with_capacity(count);
    for _ in 0..count {
        epoch_ends.push((Epoch(fields.id("past epoch")?), Position(fields.number("end of an epoch")?)));
    }
    fields.finish()?;
    // An epoch may end where the one before it did: nothing was written in between but its own record.
    let ascending = epoch_ends.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
    if !ascending || epoch_ends.last().is_some_and(|(past, end)| *past >= epoch || *end > applied) {
        return Err(Damage::new("the epochs do not ascend"));
    }
    Ok(Applied { applied, time_ms, epoch, epoch_ends })
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        assert_eq!(format_value(), [1]);
        assert_eq!(decode_format(&[1]), Ok(1));
        check::refuses_all_but(&[1], decode_format);
        check::refuses_all_but(&[7; 16], decode_incarnation);
        let applied = Applied {
            applied: Position(300),
            time_ms: 5,
            epoch: Epoch(4),
            epoch_ends: vec![(Epoch(1), Position(7)), (Epoch(3), Position(9))],
        };
        let bytes = [0xac, 2, 5, 4, 2, 1, 7, 3, 9];
        assert_eq!(applied_value(&applied), bytes);
        assert_eq!(decode_applied(&bytes), Ok(applied));
        check::refuses_all_but(&bytes, decode_applied);
    }

    #[test]
    fn epochs_ascend() {
        for bytes in
            [&[9, 0, 2, 1, 2, 3][..], &[9, 0, 2, 1, 1, 10], &[9, 0, 4, 2, 2, 3, 2, 4], &[9, 0, 4, 2, 1, 3, 2, 2]]
        {
            assert!(decode_applied(bytes).is_err(), "{bytes:?}");
        }
    }
}
