//! A receipt, written and read where it lies: it answers every message sent.

use super::Receipt;
use super::fields::{Envelope, Value, bytes_len, each, gathered, number_len, put_before, put_number};
use bytes::BufMut;

/// A response in a server's frame, and a receipt in the response.
const RECEIPT: Envelope = Envelope { outer: 2, inner: 3 };

/// A frame that answers a request with a receipt: see [`super::Receipt`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl<'a> ReceiptFrame<'a> {
    /// Appends the frame, its length before it.
    pub fn encode(&self, out: &mut impl BufMut) {
        let numbers = [(2, self.seq), (3, self.position), (4, self.time_ms), (5, self.client_seq)];
        let repeated = u64::from(self.repeated);
        let numbers_len = numbers.iter().map(|(tag, value)| number_len(*tag, *value)).sum::<usize>();
        let receipt = bytes_len(1, self.conversation.as_bytes()) + numbers_len + number_len(6, repeated);
        let name = self.conversation.as_bytes();
        gathered(out, |out| {
            RECEIPT.put(self.id, receipt, out);
            put_before(1, name, out);
        });
        out.put_slice(name);
        gathered(out, |out| {
            numbers.iter().for_each(|(tag, value)| put_number(*tag, *value, out));
            put_number(6, repeated, out);
        });
    }

    /// Reads a server's frame, without the length before it. `None` if it is anything else, or written in an unusual
    /// way: the general way tells which.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (id, receipt) = RECEIPT.open(frame)?;
        let mut found = Self { id, ..Self::default() };
        each(receipt, |field| {
            match (field.tag, field.value) {
                (1, Value::Bytes(name)) => found.conversation = std::str::from_utf8(name).ok()?,
                (2, Value::Number(seq)) => found.seq = seq,
                (3, Value::Number(position)) => found.position = position,
                (4, Value::Number(time_ms)) => found.time_ms = time_ms,
                (5, Value::Number(number)) => found.client_seq = number,
                (6, Value::Number(repeated)) => found.repeated = repeated != 0,
                _ => return None,
            }
            Some(())
        })?;
        Some(found)
    }

    /// The general message.
    pub fn to_receipt(self) -> Receipt {
        Receipt {
            conversation: self.conversation.to_owned(),
            seq: self.seq,
            position: self.position,
            time_ms: self.time_ms,
            client_seq: self.client_seq,
            repeated: self.repeated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Response, ServerFrame, Target, encode_frame, response, server_frame};
    use proptest::prelude::*;
    use prost::Message;

    fn general(id: u64, outcome: response::Outcome) -> Vec<u8> {
        let response = Response { id, outcome: Some(outcome) };
        let mut out = Vec::new();
        encode_frame(&ServerFrame { body: Some(server_frame::Body::Response(response)) }, &mut out)
            .expect("it is short");
        out
    }

    proptest! {
        #[test]
        fn it_is_what_the_general_message_says(
            id: u64, conversation in ".{0,70}", seq: u64, position: u64, client_seq in 0..3_u64, repeated: bool,
        ) {
            let time_ms = 1_800_000_000_000;
            let frame = ReceiptFrame { id, conversation: &conversation, seq, position, time_ms, client_seq, repeated };
            let mut out = Vec::new();
            frame.encode(&mut out);
            prop_assert_eq!(&out, &general(id, response::Outcome::Receipt(frame.to_receipt())));
            prop_assert_eq!(ReceiptFrame::parse(&out[4..]), Some(frame));
        }

        #[test]
        fn damage_is_left_to_the_general_way(
            seq in 0..3_u64, places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let frame = ReceiptFrame { id: 7, conversation: "room", seq, position: 300, ..ReceiptFrame::default() };
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let mut bytes = bytes.split_off(4);
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(found) = ReceiptFrame::parse(&bytes) {
                let response = Response { id: found.id, outcome: Some(response::Outcome::Receipt(found.to_receipt())) };
                let expected = ServerFrame { body: Some(server_frame::Body::Response(response)) };
                prop_assert_eq!(ServerFrame::decode(&bytes[..]), Ok(expected));
            }
        }
    }

    #[test]
    fn what_is_no_receipt_is_left_alone() {
        let unchanged = general(1, response::Outcome::Unchanged(Target { conversation: "room".to_owned() }));
        let good = general(1, response::Outcome::Receipt(Receipt { seq: 3, ..Receipt::default() })).split_off(4);
        assert!(ReceiptFrame::parse(&good).is_some());
        let twice = [good.clone(), good.clone()].concat();
        for bytes in [&unchanged[4..], &twice, &[], &good[..3]] {
            assert_eq!(ReceiptFrame::parse(bytes), None, "{bytes:?}");
        }
    }
}
