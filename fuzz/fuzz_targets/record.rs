//! A stored record has one form: what decodes encodes to the same bytes.
#![no_main]

use bytes::Bytes;
use highwater_proto::id::Position;
use highwater_proto::record::{decode, decode_shared};
use libfuzzer_sys::fuzz_target;

/// The first, the last, and the one that the golden records stand at: distances below them are cut differently.
const POSITIONS: [Position; 3] = [Position(1), Position(1_000), Position(u64::MAX)];

fuzz_target!(|bytes: &[u8]| {
    for position in POSITIONS {
        let record = decode(position, bytes);
        assert_eq!(record, decode_shared(position, &Bytes::copy_from_slice(bytes)));
        if let Ok(record) = record {
            let mut again = Vec::new();
            record.encode(&mut again);
            assert_eq!(again, bytes);
        }
    }
});
