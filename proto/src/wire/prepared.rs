//! Messages that are sent most, encoded without being built first.
//!
//! A receipt answers every message sent, and one record goes to every member's devices: building the general messages of
//! this module would allocate and copy names for each. What stands here writes the same bytes, and the tests hold it
//! to that.

use super::delta::{Delta, Record};
use super::framing::FrameError;
use crate::limits::WIRE_FRAME_BYTES_MAX;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// The field of a server's frame that holds a response.
const RESPONSE: u32 = 2;
/// The field of a response that holds a receipt.
const RECEIPT: u32 = 3;
/// The field of a delta that holds records.
const RECORDS: u32 = 5;

/// A frame that answers a request with a receipt: see [`super::Receipt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptFrame<'a> {
    /// The request's id.
    pub id: u64,
    /// The conversation's id.
    pub conversation: &'a str,
    /// The record's seq.
    pub seq: u64,
    /// The record's position.
    pub position: u64,
    /// When it was sequenced, in ms since 1970.
    pub time_ms: u64,
    /// The number it was accepted under.
    pub client_seq: u64,
    /// Whether it had been accepted before.
    pub repeated: bool,
}

impl ReceiptFrame<'_> {
    /// Appends the frame.
    pub fn encode(&self, out: &mut impl BufMut) {
        let numbers = [(2, self.seq), (3, self.position), (4, self.time_ms), (5, self.client_seq)];
        let name = match self.conversation.len() {
            0 => 0,
            length => key_len(1) + encoded_len_varint(length as u64) + length,
        };
        let repeated = u64::from(self.repeated);
        let receipt =
            name + numbers.iter().map(|(tag, value)| number_len(*tag, *value)).sum::<usize>() + number_len(6, repeated);
        let response = number_len(1, self.id) + nested_len(RECEIPT, receipt);
        out.put_u32_le(nested_len(RESPONSE, response) as u32);
        nested(RESPONSE, response, out);
        number(1, self.id, out);
        nested(RECEIPT, receipt, out);
        if name > 0 {
            nested(1, self.conversation.len(), out);
            out.put_slice(self.conversation.as_bytes());
        }
        numbers.iter().for_each(|(tag, value)| number(*tag, *value, out));
        number(6, repeated, out);
    }
}

fn number_len(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + encoded_len_varint(value) }
}

fn number(tag: u32, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn nested_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn nested(tag: u32, length: usize, out: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// A record as it stands in a delta, encoded once for everybody who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRecord(Bytes);

impl PreparedRecord {
    /// Encodes it.
    pub fn new(record: &Record) -> Self {
        let length = record.encoded_len();
        let mut bytes = BytesMut::with_capacity(nested_len(RECORDS, length));
        nested(RECORDS, length, &mut bytes);
        record.encode_raw(&mut bytes);
        Self(bytes.freeze())
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
    use crate::wire::{Conversation, Gap, Receipt, Reset, Response, ServerFrame, encode_frame, response, server_frame};
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
        fn a_receipt_is_what_the_general_message_says(
            id: u64, conversation in ".{0,70}", seq: u64, position: u64, client_seq in 0..3_u64, repeated: bool,
        ) {
            let time_ms = 1_800_000_000_000;
            let mut out = Vec::new();
            ReceiptFrame { id, conversation: &conversation, seq, position, time_ms, client_seq, repeated }
                .encode(&mut out);
            let receipt = Receipt { conversation, seq, position, time_ms, client_seq, repeated };
            let response = Response { id, outcome: Some(response::Outcome::Receipt(receipt)) };
            prop_assert_eq!(out, built(&ServerFrame { body: Some(server_frame::Body::Response(response)) }));
        }

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
