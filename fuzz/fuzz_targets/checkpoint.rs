//! A checkpoint comes from a device: what decodes is what was encoded, and nothing else decodes.
#![no_main]

use highwater_proto::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::decode(bytes) {
        assert_eq!(checkpoint.encode(), bytes);
    }
});
