//! A packed list has one form, ascends strictly and is never longer than its limit.
#![no_main]

use highwater_proto::limits::PACKED_ENTRIES_MAX;
use highwater_proto::packed::{pack, pack_outbox, unpack, unpack_outbox};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(positions) = unpack(bytes) {
        assert!(positions.is_sorted_by(|one, next| one < next) && positions.len() <= PACKED_ENTRIES_MAX);
        let mut again = Vec::new();
        pack(&positions, &mut again);
        assert_eq!(again, bytes);
    }
    if let Ok(entries) = unpack_outbox(bytes) {
        assert!(entries.is_sorted_by(|one, next| one.0 < next.0) && entries.len() <= PACKED_ENTRIES_MAX);
        let mut again = Vec::new();
        pack_outbox(entries.into_iter(), &mut again);
        assert_eq!(again, bytes);
    }
});
