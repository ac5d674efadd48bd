//! Deltas whose records are encoded once, for everybody who gets them.
//!
//! One record goes to every member's devices: building the general message would allocate and copy names for each. What
//! stands here writes the same bytes, and the tests hold it to that.

use super::delta::{Delta, Record};
use super::fields::{nested_len, put_nested};
use super::framing::FrameError;
use super::received::{MessageRecord, RECORDS};
use crate::limits::WIRE_FRAME_BYTES_MAX;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// A record as it stands in a delta, encoded once for everybody who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRecord(Bytes);

impl PreparedRecord {
    /// Encodes it.
    pub fn new(record: &Record) -> Self {
        let length = record.encoded_len();
        let mut bytes = BytesMut::with_capacity(nested_len(RECORDS, length));
        put_nested(RECORDS, length, &mut bytes);
        record.encode_raw(&mut bytes);
        Self(bytes.freeze())
    }

    /// Encodes a message, of which no general record need be made.
    pub fn of_message(message: &MessageRecord<'_>) -> Self {
        let mut bytes = Vec::with_capacity(message.field_len());
        message.put_field(&mut bytes);
        Self(bytes.into())
    }

    /// From bytes that [`Self::into_bytes`] gave.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, to be kept.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// A delta whose records are encoded already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreparedDelta {
    /// All but the records.
    pub rest: Delta,
    /// The records.
    pub records: Vec<PreparedRecord>,
}

/// Records of at least so many bytes are not copied into the frames that they stand in.
const SHARED_BYTES_MIN: usize = 2 << 10;

impl PreparedDelta {
    /// The bytes of the message.
    pub fn encoded_len(&self) -> usize {
        self.rest.encoded_len() + self.records.iter().map(|record| record.0.len()).sum::<usize>()
    }

    /// The frame, in pieces to be sent one after the other: long records are shared with whoever else gets them.
    pub fn into_frame(self) -> Result<Vec<Bytes>, FrameError> {
        let length = self.encoded_len();
        if length > WIRE_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { length, bytes_max: WIRE_FRAME_BYTES_MAX });
        }
        let is_shared = |record: &PreparedRecord| record.0.len() >= SHARED_BYTES_MIN;
        let shared: usize = self.records.iter().filter(|record| is_shared(record)).map(|record| record.0.len()).sum();
        // Fields come in the order of their tags, and what is encoded in two parts reads as one message.
        let Self { rest, records } = self;
        let head = Delta {
            from: rest.from,
            to: rest.to,
            checkpoint: rest.checkpoint,
            caught_up: rest.caught_up,
            ..Delta::default()
        };
        let tail = Delta { from: 0, to: 0, checkpoint: Bytes::new(), caught_up: false, ..rest };
        let mut copied = BytesMut::with_capacity(4 + length - shared);
        let mut pieces = Vec::new();
        copied.put_u32_le(length as u32);
        head.encode_raw(&mut copied);
        for record in records {
            if is_shared(&record) {
                pieces.push(copied.split().freeze());
                pieces.push(record.0);
            } else {
                copied.put_slice(&record.0);
            }
        }
        tail.encode_raw(&mut copied);
        pieces.push(copied.freeze());
        pieces.retain(|piece| !piece.is_empty());
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Conversation, Gap, Reset, encode_frame};
    use proptest::prelude::*;

    fn built(message: &impl Message) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame(message, &mut out).expect("it is short enough");
        out
    }

    fn record() -> impl Strategy<Value = Record> {
        let body = prop_oneof![0..400_usize, 1_900..2_200_usize, Just(60_000)];
        (any::<u64>(), ".{0,20}", 0..5_u64, 1..15_u32, body, prop::option::of(any::<u64>())).prop_map(
            |(position, conversation, seq, kind, body, quote)| Record {
                position,
                conversation,
                seq,
                kind,
                body: vec![7; body].into(),
                quote,
                mentions: vec!["ann".to_owned(); usize::from(seq == 3)],
                ..Record::default()
            },
        )
    }

    fn delta() -> impl Strategy<Value = Delta> {
        let gap = ("[a-z]{0,3}", 0..3_u64, any::<u64>());
        let gaps = prop::collection::vec(gap, 0..3);
        let records = prop::collection::vec(record(), 0..6);
        (0..3_u64, any::<u64>(), any::<bool>(), records, gaps, any::<bool>()).prop_map(
            |(from, to, caught_up, records, gaps, is_reset)| Delta {
                from,
                to,
                checkpoint: vec![1; (to % 30) as usize].into(),
                caught_up,
                conversations: vec![
                    Conversation { last: records.first().cloned(), ..Conversation::default() };
                    usize::from(is_reset) * 2
                ],
                records,
                gaps: gaps
                    .into_iter()
                    .map(|(conversation, from_seq, to_seq)| Gap { conversation, from_seq, to_seq })
                    .collect(),
                reset: is_reset.then(|| Reset { reason: "horizon".to_owned() }),
            },
        )
    }

    proptest! {
        #[test]
        fn a_delta_is_what_the_general_message_says(mut delta in delta()) {
            let whole = built(&delta);
            let records: Vec<_> = delta.records.drain(..).map(|record| PreparedRecord::new(&record)).collect();
            let longest = records.iter().filter(|record| record.0.len() >= SHARED_BYTES_MIN).count();
            let prepared = PreparedDelta { rest: delta, records: records.clone() };
            prop_assert_eq!(prepared.encoded_len() + 4, whole.len());
            let pieces = prepared.into_frame().expect("it is short enough");
            prop_assert_eq!(pieces.concat(), whole);
            // What is shared is shared, not copied.
            let is_piece = |record: &&PreparedRecord| pieces.iter().any(|piece| piece.as_ptr() == record.0.as_ptr());
            prop_assert_eq!(records.iter().filter(is_piece).count(), longest);
        }
    }

    #[test]
    fn a_delta_too_long_for_its_reader_is_refused() {
        let record = PreparedRecord::new(&Record { body: vec![0; WIRE_FRAME_BYTES_MAX].into(), ..Record::default() });
        let delta = PreparedDelta { rest: Delta::default(), records: vec![record] };
        assert!(matches!(delta.into_frame(), Err(FrameError::TooLong { .. })));
    }
}
