//! Frames on a stream: a length of four bytes, little-endian, and a protobuf message of that length.
//!
//! A peer may send anything in pieces of any size. [`FrameReader`] does no I/O: it is given bytes and yields messages,
//! and refuses a frame that is too long as soon as it knows the length, before it keeps any of it.

use crate::error::{Code, Error};
use crate::limits::WIRE_FRAME_BYTES_MAX;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Bytes of the length before a message.
const PREFIX_BYTES: usize = 4;

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameError {
    /// A frame is longer than allowed.
    TooLong {
        /// The message's length, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        bytes_max: usize,
    },
    /// A frame does not hold the message that was expected.
    Malformed(prost::DecodeError),
    /// The stream ended within a frame.
    Unfinished {
        /// How many bytes of the frame are missing at least.
        missing: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { length, bytes_max } => {
                write!(f, "a frame has {length} bytes; at most {bytes_max} are allowed")
            }
            FrameError::Malformed(error) => write!(f, "a frame is malformed: {error}"),
            FrameError::Unfinished { missing } => {
                write!(f, "the stream ended within a frame; at least {missing} bytes are missing")
            }
        }
    }
}

impl std::error::Error for FrameError {}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Self::new(Code::Protocol, error.to_string())
    }
}

/// Appends `message` as a frame.
///
/// A message of more than [`WIRE_FRAME_BYTES_MAX`] bytes is refused, and `out` is as it was: its receiver would close
/// the connection.
pub fn encode_frame<M: prost::Message>(message: &M, out: &mut impl BufMut) -> Result<(), FrameError> {
    let length = message.encoded_len();
    if length > WIRE_FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length, bytes_max: WIRE_FRAME_BYTES_MAX });
    }
    // Both kinds of buffer in use grow; a fixed one that is full panics here, as `put_u32_le` would.
    out.put_u32_le(length as u32);
    message.encode_raw(out);
    Ok(())
}

/// Cuts a stream's bytes into messages.
///
/// Call [`push`](Self::push) with what came in and then [`next`](Self::next) until it has no more; then never more than
/// one frame and one push is kept. After an error the reader repeats it: a stream has no way to go on.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    bytes_max: usize,
    /// Most bytes that are set aside for the rest of a frame when its beginning came in.
    ahead_max: usize,
    failed: Option<FrameError>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// Reads frames of at most [`WIRE_FRAME_BYTES_MAX`] bytes.
    pub fn new() -> Self {
        Self::with_bytes_max(WIRE_FRAME_BYTES_MAX)
    }

    /// Reads frames of at most `bytes_max` bytes, and never of more than [`WIRE_FRAME_BYTES_MAX`].
    pub fn with_bytes_max(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), bytes_max: bytes_max.min(WIRE_FRAME_BYTES_MAX), ahead_max: 0, failed: None }
    }

    /// Reads frames of a peer that may be believed when it says how long a frame is: room for all of it, up to
    /// `ahead_max` bytes more than have come in, is set aside at once, and a frame that comes alone is not copied.
    ///
    /// A server has too many peers for that: each could have it set memory aside by sending four bytes.
    pub fn reserving(ahead_max: usize) -> Self {
        Self { ahead_max, ..Self::new() }
    }

    /// From the next frame on, allows `bytes_max` bytes, and never more than [`WIRE_FRAME_BYTES_MAX`].
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(WIRE_FRAME_BYTES_MAX);
    }

    /// Takes bytes off the stream. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.ahead_max > 0 && self.buffer.capacity() - self.buffer.len() < bytes.len() {
            let ahead = self.missing_after(bytes).min(self.ahead_max);
            self.buffer.reserve(bytes.len() + ahead);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How much of the next frame is still missing when these bytes have come in, as far as they tell.
    fn missing_after(&self, bytes: &[u8]) -> usize {
        let mut prefix = self.buffer.iter().chain(bytes);
        let prefix = [prefix.next(), prefix.next(), prefix.next(), prefix.next()];
        let [Some(a), Some(b), Some(c), Some(d)] = prefix else { return 0 };
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        // What is too long is refused before long, and nothing is kept for it.
        if length > self.bytes_max {
            0
        } else {
            (PREFIX_BYTES + length).saturating_sub(self.buffer.len() + bytes.len())
        }
    }

    /// The next message, if all of it has come in.
    ///
    /// A message owns its bytes apart from the reader's, so that keeping a body keeps its frame alive and nothing else.
    #[expect(clippy::should_implement_trait, reason = "which message comes next is the caller's choice, call by call")]
    pub fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(frame) = self.take()? else { return Ok(None) };
        M::decode(frame).map(Some).map_err(|error| self.fail(FrameError::Malformed(error)))
    }

    /// The next message as bytes of its own, if all of it has come in.
    pub fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.peek()?.map(<[u8]>::len) else { return Ok(None) };
        let whole = PREFIX_BYTES + length;
        if self.ahead_max > 0 && self.buffer.len() == whole && self.buffer.capacity() <= whole + whole / 8 {
            // It came alone into a buffer made for it.
            let mut bytes = std::mem::take(&mut self.buffer).freeze();
            bytes.advance(PREFIX_BYTES);
            return Ok(Some(bytes));
        }
        let frame = self.peek()?.map(Bytes::copy_from_slice);
        self.skip();
        Ok(frame)
    }

    /// Says that a message that was taken is not what it should be: the stream cannot go on.
    pub fn refuse(&mut self, error: prost::DecodeError) -> FrameError {
        self.fail(FrameError::Malformed(error))
    }

    /// The bytes of the next message, if all of it has come in. It stays the next one until it is skipped.
    pub fn peek(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(length) = self.length()? else { return Ok(None) };
        Ok(self.buffer.get(PREFIX_BYTES..PREFIX_BYTES + length))
    }

    /// Leaves out the next message, if all of it has come in.
    pub fn skip(&mut self) {
        let Ok(Some(frame)) = self.peek() else { return };
        let bytes = PREFIX_BYTES + frame.len();
        self.buffer.advance(bytes);
        if self.buffer.is_empty() {
            // An idle stream keeps no memory for the longest frame that it ever saw.
            self.buffer = BytesMut::new();
        }
    }

    /// The length of the message to come, in bytes, once it is known. An error if it is not allowed.
    pub fn length(&mut self) -> Result<Option<usize>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.bytes_max {
            return Err(self.fail(FrameError::TooLong { length, bytes_max: self.bytes_max }));
        }
        Ok(Some(length))
    }

    /// How many bytes are missing at least until [`next`](Self::next) has a message; 0 if it has one already.
    pub fn missing(&mut self) -> Result<usize, FrameError> {
        let whole = PREFIX_BYTES + self.length()?.unwrap_or(0);
        Ok(whole.saturating_sub(self.buffer.len()))
    }

    /// Says that the stream ended: an error if it did so within a frame.
    pub fn finish(&mut self) -> Result<(), FrameError> {
        match self.missing()? {
            missing if self.buffer.is_empty() || missing == 0 => Ok(()),
            missing => Err(FrameError::Unfinished { missing }),
        }
    }

    /// How many bytes are kept.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.buffer = BytesMut::new();
        self.failed = Some(error.clone());
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Ack, Token};
    use proptest::prelude::*;

    fn frame(token: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame(&Token { token: token.to_owned() }, &mut out).expect("short");
        out
    }

    #[test]
    fn a_frame_comes_out_whole_whatever_the_pieces() {
        let bytes = [frame("one"), frame(""), frame(&"x".repeat(70_000))].concat();
        for piece in [1, 2, 3, 4, 5, 7, 1_000, bytes.len()] {
            for mut reader in [FrameReader::new(), FrameReader::reserving(1_000), FrameReader::reserving(100_000)] {
                let mut tokens = Vec::new();
                for bytes in bytes.chunks(piece) {
                    reader.push(bytes);
                    while let Some(Token { token }) = reader.next().expect("well formed") {
                        tokens.push(token.len());
                    }
                }
                assert_eq!(tokens, [3, 0, 70_000], "pieces of {piece} bytes");
                assert_eq!(reader.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn a_reserving_reader_sets_aside_what_a_frame_needs_and_no_more_than_it_may() {
        let long = frame(&"x".repeat(70_000));
        for (ahead_max, is_whole) in [(100_000, true), (1_000, false)] {
            let mut reader = FrameReader::reserving(ahead_max);
            reader.push(&long[..2]);
            reader.push(&long[2..1_500]);
            let reserved = reader.buffer.capacity();
            assert!(reserved <= 1_500 + ahead_max && (reserved >= long.len()) == is_whole, "{reserved} bytes");
            let at = reader.buffer.as_ptr();
            reader.push(&long[1_500..]);
            assert!(!is_whole || reader.buffer.as_ptr() == at, "it was moved");
            let taken = reader.take().expect("short enough").expect("whole");
            assert_eq!(taken, long[PREFIX_BYTES..]);
            let is_copy = taken.as_ptr() != at.wrapping_add(PREFIX_BYTES);
            assert!(!is_whole || !is_copy && taken.is_unique(), "it was copied");
            assert_eq!((reader.buffered(), reader.buffer.capacity()), (0, 0), "an idle stream keeps nothing");
        }
        // What follows in the same push is kept, and what is too long is refused before anything is set aside.
        let mut reader = FrameReader::reserving(100_000);
        reader.push(&[frame("one"), frame("two")].concat());
        assert_eq!(
            reader.take().map(|taken| taken.map(|taken| taken.len())),
            Ok(Some(frame("one").len() - PREFIX_BYTES))
        );
        assert_eq!(reader.next(), Ok(Some(Token { token: "two".to_owned() })));
        reader.push(&[255; 4]);
        assert!(reader.buffer.capacity() < 100);
        assert!(matches!(reader.take(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_long_frame_is_refused_by_its_length_alone() {
        let mut reader = FrameReader::with_bytes_max(10);
        reader.push(&[11, 0, 0]);
        assert_eq!(reader.next::<Token>(), Ok(None));
        assert_eq!(reader.missing(), Ok(1));
        reader.push(&[0]);
        let refused = FrameError::TooLong { length: 11, bytes_max: 10 };
        assert_eq!(reader.next::<Token>(), Err(refused.clone()));
        // Whatever else comes in is neither kept nor read.
        reader.push(&frame(""));
        assert_eq!(reader.buffered(), 0);
        assert_eq!(reader.next::<Token>(), Err(refused.clone()));
        assert_eq!(reader.finish(), Err(refused));
    }

    #[test]
    fn the_limit_may_grow_but_not_past_the_wires() {
        let longest = WIRE_FRAME_BYTES_MAX as u32;
        let mut reader = FrameReader::with_bytes_max(10);
        reader.set_bytes_max(usize::MAX);
        reader.push(&longest.to_le_bytes());
        assert_eq!(reader.length(), Ok(Some(WIRE_FRAME_BYTES_MAX)));
        let mut reader = FrameReader::with_bytes_max(usize::MAX);
        reader.push(&(longest + 1).to_le_bytes());
        assert!(matches!(reader.next::<Token>(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_message_too_long_for_its_reader_is_not_sent() {
        let mut out = b"before".to_vec();
        let token = Token { token: "x".repeat(WIRE_FRAME_BYTES_MAX) };
        assert!(matches!(encode_frame(&token, &mut out), Err(FrameError::TooLong { .. })));
        assert_eq!(out, b"before");
        // Tag and length of the field take four bytes of a message of this size.
        let token = Token { token: "x".repeat(WIRE_FRAME_BYTES_MAX - 4) };
        assert_eq!(encode_frame(&token, &mut out), Ok(()));
        let mut reader = FrameReader::new();
        reader.push(&out[b"before".len()..]);
        assert_eq!(reader.next(), Ok(Some(token)));
    }

    #[test]
    fn a_message_may_be_looked_at_and_skipped() {
        let mut reader = FrameReader::new();
        let (one, two) = (frame("one"), frame("two"));
        reader.push(&one[..5]);
        assert_eq!(reader.peek(), Ok(None));
        reader.skip();
        reader.push(&one[5..]);
        reader.push(&two);
        assert_eq!(reader.peek(), Ok(Some(&one[PREFIX_BYTES..])));
        reader.skip();
        assert_eq!(reader.next(), Ok(Some(Token { token: "two".to_owned() })));
        assert_eq!(reader.peek(), Ok(None));
    }

    #[test]
    fn an_end_within_a_frame_is_an_error() {
        let bytes = frame("one");
        for end in 1..bytes.len() {
            let mut reader = FrameReader::new();
            reader.push(&bytes[..end]);
            assert_eq!(reader.next::<Token>(), Ok(None));
            assert!(matches!(reader.finish(), Err(FrameError::Unfinished { .. })), "after {end} bytes");
        }
    }

    #[test]
    fn a_malformed_message_ends_the_stream() {
        let mut reader = FrameReader::new();
        reader.push(&[2, 0, 0, 0, 0x0a, 5]);
        reader.push(&frame("after it"));
        let error = reader.next::<Token>().expect_err("the string is longer than the message");
        assert_eq!(Error::from(error.clone()).code, Code::Protocol);
        assert_eq!(reader.next::<Token>(), Err(error));
    }

    #[test]
    fn a_kept_body_keeps_no_more_than_its_frame() {
        let ack = Ack { checkpoint: Bytes::from_static(b"checkpoint") };
        let mut bytes = Vec::new();
        encode_frame(&ack, &mut bytes).expect("short");
        bytes.extend(frame(&"x".repeat(100_000)));
        let mut reader = FrameReader::new();
        // In pieces, so that the buffer grows beyond what it needs.
        bytes.chunks(1_000).for_each(|piece| reader.push(piece));
        let Ok(Some(Ack { checkpoint })) = reader.next() else { panic!("an ack comes first") };
        assert!(reader.buffered() > 0 && checkpoint.is_unique());
        assert!(reader.next::<Token>().expect("well formed").is_some());
        assert_eq!((reader.buffered(), reader.buffer.capacity()), (0, 0), "an idle stream keeps nothing");
    }

    proptest! {
        #[test]
        fn never_keeps_more_than_a_frame_and_a_push(pushes: Vec<Vec<u8>>, bytes_max in 0_usize..64) {
            let mut reader = FrameReader::with_bytes_max(bytes_max);
            for push in pushes {
                reader.push(&push);
                while let Ok(Some(Token { .. })) = reader.next() {}
                prop_assert!(reader.buffered() < PREFIX_BYTES + bytes_max.max(1));
            }
        }
    }
}
