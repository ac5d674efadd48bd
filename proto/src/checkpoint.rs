//! What a device holds: how far it has got, opaque to everybody but the engine.

use crate::error::{Code, Error};
use crate::id::{Epoch, Incarnation, Position};

/// "Everything up to here has been delivered to this device."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Which history the position belongs to.
    pub incarnation: Incarnation,
    /// During which epoch it was given.
    pub epoch: Epoch,
    /// The last position covered; zero before the first record.
    pub position: Position,
}

/// First byte of an encoded checkpoint; others are kept for a vector of positions.
const VERSION: u8 = 1;
/// Bytes of an encoded checkpoint of this version.
const LENGTH: usize = 1 + 16 + 4 + 8;

impl Checkpoint {
    /// The bytes that devices hold: version, incarnation, epoch and position, big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.position.0.to_be_bytes());
        bytes
    }

    /// Reads what [`Checkpoint::encode`] wrote; anything else is `invalid_argument`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = || Error::new(Code::InvalidArgument, "checkpoint is malformed");
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| malformed())?;
        if bytes[0] != VERSION {
            return Err(malformed());
        }
        let part = |from: usize, to: usize| &bytes[from..to];
        Ok(Self {
            incarnation: Incarnation(part(1, 17).try_into().map_err(|_| malformed())?),
            epoch: Epoch(u32::from_be_bytes(part(17, 21).try_into().map_err(|_| malformed())?)),
            position: Position(u64::from_be_bytes(part(21, 29).try_into().map_err(|_| malformed())?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(incarnation: [u8; 16], epoch: u32, position: u64) {
            let incarnation = Incarnation(incarnation);
            let checkpoint = Checkpoint { incarnation, epoch: Epoch(epoch), position: Position(position) };
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }

        #[test]
        fn what_decodes_is_what_was_encoded(bytes in proptest::collection::vec(any::<u8>(), 28..31), version in 0_u8..3) {
            let mut bytes = bytes;
            bytes[0] = version;
            match Checkpoint::decode(&bytes) {
                Ok(checkpoint) => prop_assert_eq!(checkpoint.encode(), bytes),
                Err(error) => prop_assert_eq!(error.code, Code::InvalidArgument),
            }
        }
    }

    #[test]
    fn other_lengths_and_versions_are_refused() {
        for length in (0..LENGTH).chain(LENGTH + 1..100) {
            assert!(Checkpoint::decode(&vec![VERSION; length]).is_err(), "{length} bytes");
        }
        for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
            assert!(Checkpoint::decode(&[version; LENGTH]).is_err(), "version {version}");
        }
    }
}
