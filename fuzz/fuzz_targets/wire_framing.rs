//! A stream of frames gives the same messages and the same end however it is cut, and never much is kept of it.
#![no_main]

use highwater_proto::wire::{ClientFrame, FrameError, FrameReader};
use libfuzzer_sys::fuzz_target;

/// Small, so that frames that are too long are met often.
const BYTES_MAX: usize = 300;
const PREFIX_BYTES: usize = 4;

fuzz_target!(|input: &[u8]| {
    // The first byte says into which pieces the others are cut.
    let Some((piece, bytes)) = input.split_first() else { return };
    let piece = usize::from(*piece) + 1;
    assert_eq!(read(bytes, piece), read(bytes, bytes.len().max(1)));
});

fn read(bytes: &[u8], piece: usize) -> (Vec<ClientFrame>, Result<(), FrameError>) {
    let mut reader = FrameReader::with_bytes_max(BYTES_MAX);
    let mut messages = Vec::new();
    for bytes in bytes.chunks(piece) {
        reader.push(bytes);
        loop {
            match reader.next::<ClientFrame>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.buffered(), 0);
                    return (messages, Err(error));
                }
            }
        }
        assert!(reader.buffered() < PREFIX_BYTES + BYTES_MAX);
    }
    (messages, reader.finish())
}
