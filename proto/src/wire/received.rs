//! Deltas as they come in, whose records are taken one by one.
//!
//! Read the general way, a page of messages is a list of large structures, most of whose fields are empty, made only to
//! be taken apart again. Here a plain message is looked at where it stands in its frame. Whatever else there is, is
//! read the general way, and the tests hold the two to the same.

use super::delta::{Delta, Record, kind};
use super::fields::{
    Field, Value, bytes_len, each, nested_len, next, number_len, optional_len, put_bytes, put_nested, put_number,
    put_optional,
};
use bytes::{BufMut, Bytes};
use prost::{DecodeError, Message};
use std::str::from_utf8;

/// The field of a delta that holds records.
pub(super) const RECORDS: u32 = 5;

/// A delta that came in.
#[derive(Debug)]
pub struct ReceivedDelta {
    /// All but the records.
    pub rest: Delta,
    frame: Bytes,
    /// The records, if the general way had to be taken.
    general: Vec<Record>,
    /// From where to where in the frame each record stands.
    records: Vec<(usize, usize)>,
}

/// One of its records.
#[derive(Debug, PartialEq)]
pub enum ReceivedRecord<'a> {
    /// A message without mentions, as nearly all are.
    Message(MessageRecord<'a>),
    /// Anything else.
    Other(Box<Record>),
}

/// A message without mentions, in whichever direction; the fields are those of [`Record`].
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `Record`")]
pub struct MessageRecord<'a> {
    pub position: u64,
    pub conversation: &'a str,
    pub seq: u64,
    pub from: &'a str,
    pub device: &'a str,
    pub time_ms: u64,
    pub by_service: bool,
    /// Of a message that came in: shares the frame's bytes.
    pub body: Bytes,
    pub sent_at_ms: Option<u64>,
    pub quote: Option<u64>,
    pub edited_ms: Option<u64>,
    pub recalled: bool,
}

impl ReceivedDelta {
    /// From a frame's bytes.
    ///
    /// # Errors
    /// They are no delta. What the records hold is not looked at yet.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let (mut records, mut others) = (Vec::new(), Vec::new());
        let mut left = &frame[..];
        while !left.is_empty() {
            let before = left;
            match next(&mut left) {
                Some(Field { tag: RECORDS, value: Value::Bytes(record) }) => {
                    let to = frame.len() - left.len();
                    records.push((to - record.len(), to));
                }
                Some(_) => others.extend_from_slice(&before[..before.len() - left.len()]),
                // Malformed, or of a kind that only the general way knows how to leave out: that one decides.
                None => {
                    let mut rest = Delta::decode(frame)?;
                    let general = std::mem::take(&mut rest.records);
                    return Ok(Self { rest, frame: Bytes::new(), general, records: Vec::new() });
                }
            }
        }
        Ok(Self { rest: Delta::decode(Bytes::from(others))?, frame, general: Vec::new(), records })
    }

    /// How many records it has.
    pub fn count(&self) -> usize {
        self.general.len() + self.records.len()
    }

    /// Its records, in position order. Each may turn out to be malformed.
    #[inline]
    pub fn records(&self) -> impl Iterator<Item = Result<ReceivedRecord<'_>, DecodeError>> {
        let general = self.general.iter().map(|record| Ok(ReceivedRecord::Other(Box::new(record.clone()))));
        general.chain(self.records.iter().map(|(from, to)| self.record(*from, *to)))
    }

    #[inline]
    fn record(&self, from: usize, to: usize) -> Result<ReceivedRecord<'_>, DecodeError> {
        match MessageRecord::parse(&self.frame, from, to) {
            Some(message) => Ok(ReceivedRecord::Message(message)),
            None => Record::decode(self.frame.slice(from..to)).map(|record| ReceivedRecord::Other(Box::new(record))),
        }
    }
}

impl<'a> MessageRecord<'a> {
    /// The record between two places of a frame; `None` if it is malformed or no plain message.
    #[inline]
    fn parse(frame: &'a Bytes, from: usize, to: usize) -> Option<Self> {
        let (mut found, mut kind, mut body): (Self, _, &[u8]) = (Self::default(), 0, &[]);
        each(frame.get(from..to)?, |field| {
            match (field.tag, field.value) {
                (1, Value::Number(number)) => found.position = number,
                (2, Value::Bytes(bytes)) => found.conversation = from_utf8(bytes).ok()?,
                (3, Value::Number(number)) => found.seq = number,
                (4, Value::Number(number)) => kind = u32::try_from(number).ok()?,
                (5, Value::Bytes(bytes)) => found.from = from_utf8(bytes).ok()?,
                (6, Value::Bytes(bytes)) => found.device = from_utf8(bytes).ok()?,
                (7, Value::Number(number)) => found.time_ms = number,
                (8, Value::Number(number)) => found.by_service = number != 0,
                (9, Value::Bytes(bytes)) => body = bytes,
                (10, Value::Number(number)) => found.sent_at_ms = Some(number),
                (11, Value::Number(number)) => found.quote = Some(number),
                (13, Value::Number(number)) => found.edited_ms = Some(number),
                (14, Value::Number(number)) => found.recalled = number != 0,
                _ => return None,
            }
            Some(())
        })?;
        if kind != kind::MESSAGE {
            return None;
        }
        if !body.is_empty() {
            found.body = frame.slice_ref(body);
        }
        Some(found)
    }
}

impl MessageRecord<'_> {
    /// Bytes of the record as a field of a delta.
    pub(super) fn field_len(&self) -> usize {
        nested_len(RECORDS, self.encoded_len())
    }

    /// Writes the record as a field of a delta.
    pub(super) fn put_field(&self, out: &mut impl BufMut) {
        put_nested(RECORDS, self.encoded_len(), out);
        put_number(1, self.position, out);
        put_bytes(2, self.conversation.as_bytes(), out);
        put_number(3, self.seq, out);
        put_number(4, kind::MESSAGE.into(), out);
        put_bytes(5, self.from.as_bytes(), out);
        put_bytes(6, self.device.as_bytes(), out);
        put_number(7, self.time_ms, out);
        put_number(8, self.by_service.into(), out);
        put_bytes(9, &self.body, out);
        put_optional(10, self.sent_at_ms, out);
        put_optional(11, self.quote, out);
        put_optional(13, self.edited_ms, out);
        put_number(14, self.recalled.into(), out);
    }

    fn encoded_len(&self) -> usize {
        let names = [(2, self.conversation), (5, self.from), (6, self.device)];
        let numbers = [(1, self.position), (3, self.seq), (4, kind::MESSAGE.into()), (7, self.time_ms)];
        let flags = [(8, self.by_service), (14, self.recalled)];
        let optional = [(10, self.sent_at_ms), (11, self.quote), (13, self.edited_ms)];
        names.iter().map(|(tag, name)| bytes_len(*tag, name.as_bytes())).sum::<usize>()
            + numbers.iter().map(|(tag, number)| number_len(*tag, *number)).sum::<usize>()
            + flags.iter().map(|(tag, flag)| number_len(*tag, (*flag).into())).sum::<usize>()
            + optional.iter().map(|(tag, number)| optional_len(*tag, *number)).sum::<usize>()
            + bytes_len(9, &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Conversation, Gap, Reset};
    use proptest::prelude::*;

    /// The general message that a record is.
    fn general(record: ReceivedRecord<'_>) -> Record {
        match record {
            ReceivedRecord::Other(record) => *record,
            ReceivedRecord::Message(message) => Record {
                position: message.position,
                conversation: message.conversation.to_owned(),
                seq: message.seq,
                kind: kind::MESSAGE,
                from: message.from.to_owned(),
                device: message.device.to_owned(),
                time_ms: message.time_ms,
                by_service: message.by_service,
                body: message.body,
                sent_at_ms: message.sent_at_ms,
                quote: message.quote,
                edited_ms: message.edited_ms,
                recalled: message.recalled,
                ..Record::default()
            },
        }
    }

    /// What the new way makes of bytes.
    fn received(bytes: &[u8]) -> Result<Delta, DecodeError> {
        let received = ReceivedDelta::decode(Bytes::copy_from_slice(bytes))?;
        let records: Vec<Record> = received.records().map(|record| record.map(general)).collect::<Result<_, _>>()?;
        assert_eq!(received.count(), records.len());
        Ok(Delta { records, ..received.rest })
    }

    fn record() -> impl Strategy<Value = Record> {
        let texts = (".{0,9}", ".{0,9}", ".{0,9}", prop::collection::vec(any::<u8>(), 0..40));
        let numbers = (any::<u64>(), any::<u64>(), 1..4_u32, any::<bool>(), any::<bool>());
        let optional = (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>(), 0..9_usize);
        (texts, numbers, optional).prop_map(|(texts, numbers, optional)| {
            let (conversation, from, device, body) = texts;
            let (position, seq, kind, by_service, recalled) = numbers;
            let (sent_at_ms, quote, edited_ms, mentions) = optional;
            Record {
                position,
                conversation,
                seq,
                kind,
                from,
                device,
                time_ms: position / 3,
                by_service,
                body: body.into(),
                sent_at_ms,
                quote,
                mentions: vec!["ann".to_owned(); mentions / 8],
                edited_ms,
                recalled,
                members: vec!["bob".to_owned(); usize::from(kind == kind::ADD)],
                ..Record::default()
            }
        })
    }

    fn delta() -> impl Strategy<Value = Delta> {
        (0..9_u64, any::<u64>(), any::<bool>(), prop::collection::vec(record(), 0..6), 0..3_usize).prop_map(
            |(from, to, caught_up, records, others)| Delta {
                from,
                to,
                checkpoint: vec![1; (to % 30) as usize].into(),
                caught_up,
                gaps: vec![Gap { conversation: "c".to_owned(), from_seq: from, to_seq: to }; others],
                conversations: vec![
                    Conversation { last: records.first().cloned(), ..Conversation::default() };
                    others / 2
                ],
                reset: (others == 2).then(|| Reset { reason: "horizon".to_owned() }),
                records,
            },
        )
    }

    proptest! {
        #[test]
        fn a_delta_is_what_the_general_message_says(delta in delta()) {
            let bytes = delta.encode_to_vec();
            prop_assert_eq!(received(&bytes), Ok(delta.clone()));
            // And a message is written as the general way writes it.
            let received = ReceivedDelta::decode(bytes.into()).expect("a delta");
            for (received, record) in received.records().zip(delta.records) {
                if let Ok(ReceivedRecord::Message(message)) = received {
                    let (mut field, mut expected) = (Vec::new(), Vec::new());
                    message.put_field(&mut field);
                    put_bytes(RECORDS, &record.encode_to_vec(), &mut expected);
                    prop_assert_eq!(message.field_len(), expected.len());
                    prop_assert_eq!(field, expected);
                }
            }
        }

        #[test]
        fn damage_is_judged_as_the_general_way_judges_it(
            delta in delta(), places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = delta.encode_to_vec();
            prop_assume!(!bytes.is_empty());
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let (found, expected) = (received(&bytes), Delta::decode(&bytes[..]));
            // Which of several faults is named may differ.
            prop_assert_eq!(found.ok(), expected.ok());
        }
    }

    #[test]
    fn a_plain_message_is_not_made_into_a_general_one_and_shares_the_frame() {
        let plain = Record { position: 1, kind: kind::MESSAGE, body: "text".into(), ..Record::default() };
        let mentioning = Record { mentions: vec!["bob".to_owned()], ..plain.clone() };
        let delta = Delta { records: vec![plain, mentioning], ..Delta::default() };
        let received = ReceivedDelta::decode(delta.encode_to_vec().into()).expect("a delta");
        let records: Vec<_> = received.records().collect::<Result<_, _>>().expect("well formed");
        let [ReceivedRecord::Message(message), ReceivedRecord::Other(_)] = &records[..] else { panic!("{records:?}") };
        assert!(received.frame.as_ptr_range().contains(&message.body.as_ptr()));
    }
}
