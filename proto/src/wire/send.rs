//! A request to send, read and written where it lies.
//!
//! Nearly all that a server receives are plain messages. Handling one as a general frame allocates for the frame, the
//! names and the body; what stands here borrows all of it. Whatever is not such a message, or not in the usual form, is
//! left to the general way, so that there is one judge of what is malformed; the tests hold both to the same answer.

use super::Send;
use super::fields::{
    Envelope, Value, bytes_len, each, gathered, number_len, optional_len, put_before, put_number, put_optional,
};
use super::framing::FrameError;
use crate::limits::WIRE_FRAME_BYTES_MAX;
use bytes::{BufMut, Bytes};

/// A request in a client's frame, and a message to send in the request.
const SEND: Envelope = Envelope { outer: 2, inner: 2 };

/// A [`Send`] without mentions, with the id of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendRequest<'a> {
    /// The request's id.
    pub id: u64,
    /// The device's number for it.
    pub client_seq: u64,
    /// The other user, or empty.
    pub to: &'a str,
    /// The conversation's id, or empty.
    pub conversation: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The message that it answers.
    pub quote: Option<u64>,
    /// The sender's own time, in ms since 1970.
    pub sent_at_ms: Option<u64>,
}

impl<'a> SendRequest<'a> {
    /// Reads a client's frame. `None` if it is anything else, or written in an unusual way.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (id, message) = SEND.open(frame)?;
        let mut found = Self { id, ..Self::default() };
        each(message, |field| {
            match (field.tag, field.value) {
                (1, Value::Number(number)) => found.client_seq = number,
                (2, Value::Bytes(name)) => found.to = std::str::from_utf8(name).ok()?,
                (3, Value::Bytes(name)) => found.conversation = std::str::from_utf8(name).ok()?,
                (4, Value::Bytes(body)) => found.body = body,
                (5, Value::Number(seq)) => found.quote = Some(seq),
                (7, Value::Number(time_ms)) => found.sent_at_ms = Some(time_ms),
                _ => return None,
            }
            Some(())
        })?;
        Some(found)
    }

    /// Appends the frame, its length before it.
    ///
    /// # Errors
    /// As [`encode_frame`](super::encode_frame): it is too long, and `out` is as it was.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), FrameError> {
        let (to, conversation) = (self.to.as_bytes(), self.conversation.as_bytes());
        let names = bytes_len(2, to) + bytes_len(3, conversation);
        let times = optional_len(5, self.quote) + optional_len(7, self.sent_at_ms);
        let send = number_len(1, self.client_seq) + names + bytes_len(4, self.body) + times;
        let length = SEND.frame_len(self.id, send);
        if length > WIRE_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { length, bytes_max: WIRE_FRAME_BYTES_MAX });
        }
        gathered(out, |out| {
            SEND.put(self.id, send, out);
            put_number(1, self.client_seq, out);
            put_before(2, to, out);
        });
        out.put_slice(to);
        gathered(out, |out| put_before(3, conversation, out));
        out.put_slice(conversation);
        gathered(out, |out| put_before(4, self.body, out));
        out.put_slice(self.body);
        if times > 0 {
            gathered(out, |out| {
                put_optional(5, self.quote, out);
                put_optional(7, self.sent_at_ms, out);
            });
        }
        Ok(())
    }

    /// The general message.
    pub fn to_send(self) -> Send {
        Send {
            client_seq: self.client_seq,
            to: self.to.to_owned(),
            conversation: self.conversation.to_owned(),
            body: Bytes::copy_from_slice(self.body),
            quote: self.quote,
            mentions: Vec::new(),
            sent_at_ms: self.sent_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClientFrame, MarkRead, Request, client_frame, request::Call};
    use proptest::prelude::*;
    use prost::Message;

    fn frame(id: u64, call: Call) -> Vec<u8> {
        ClientFrame { body: Some(client_frame::Body::Request(Request { id, call: Some(call) })) }.encode_to_vec()
    }

    fn general(bytes: &[u8]) -> Option<(u64, Call)> {
        match ClientFrame::decode(bytes).ok()?.body? {
            client_frame::Body::Request(Request { id, call: Some(call) }) => Some((id, call)),
            _ => None,
        }
    }

    fn send() -> impl Strategy<Value = Send> {
        let seq = prop_oneof![Just(0), Just(1), any::<u64>()];
        let body = prop::collection::vec(any::<u8>(), 0..300);
        (seq, ".{0,9}", ".{0,9}", body, any::<Option<u64>>(), any::<Option<u64>>()).prop_map(
            |(client_seq, to, conversation, body, quote, sent_at_ms)| Send {
                client_seq,
                to,
                conversation,
                body: body.into(),
                quote,
                mentions: Vec::new(),
                sent_at_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn a_message_is_read_and_written_as_the_general_way_does_it(id: u64, send in send()) {
            let bytes = frame(id, Call::Send(send.clone()));
            let found = SendRequest::parse(&bytes).expect("it is a plain message");
            prop_assert_eq!((found.id, found.to_send()), (id, send));
            let mut written = Vec::new();
            found.encode(&mut written).expect("it is short");
            prop_assert_eq!(&written[..4], (bytes.len() as u32).to_le_bytes());
            prop_assert_eq!(&written[4..], bytes);
        }

        #[test]
        fn damage_is_left_to_the_general_way(
            send in send(), places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = frame(7, Call::Send(send));
            for (place, byte) in places {
                let place = place.index(bytes.len().min(40));
                bytes[place] = byte;
            }
            if let Some(found) = SendRequest::parse(&bytes) {
                prop_assert_eq!(Some((found.id, Call::Send(found.to_send()))), general(&bytes));
            }
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_and_nothing_is_written() {
        let body = vec![0; WIRE_FRAME_BYTES_MAX];
        let mut out = Vec::new();
        let refused = SendRequest { body: &body, ..SendRequest::default() }.encode(&mut out);
        assert!(matches!(refused, Err(FrameError::TooLong { .. })) && out.is_empty());
    }

    #[test]
    fn what_is_not_a_plain_message_is_left_alone() {
        let plain = Send { client_seq: 1, to: "bob".to_owned(), ..Send::default() };
        let mentioning = Send { mentions: vec!["bob".to_owned()], ..plain.clone() };
        let read = Call::Read(MarkRead { conversation: "c".to_owned(), through: 3 });
        let good = frame(1, Call::Send(plain));
        assert!(SendRequest::parse(&good).is_some());
        let twice = [good.clone(), good.clone()].concat();
        for bytes in [frame(1, Call::Send(mentioning)), frame(1, read), twice, Vec::new(), good[..9].to_vec()] {
            assert_eq!(SendRequest::parse(&bytes), None, "{bytes:?}");
        }
    }
}
