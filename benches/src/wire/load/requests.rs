//! One session's pipelined requests: numbered in order, each answered once.

use super::super::{FIRST_ID, Fallible, lean};
use super::connect::refusal;
use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::wire::{ClientFrame, Request, Send, client_frame, encode_frame, request};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most unanswered requests that a server reads on for.
pub(super) const IN_FLIGHT_MAX: usize = 256;

/// Makes a session's requests, and matches the answers.
pub(super) struct Requests {
    next_id: u64,
    /// The number of the next send.
    client_seq: u64,
    message: Send,
    /// The oldest unanswered request.
    first_id: u64,
    /// When the requests from `first_id` on were written; `None`: answered, out of turn.
    written: VecDeque<Option<Instant>>,
    unanswered: usize,
    /// Of the answer before.
    position: u64,
}

impl Requests {
    /// Messages to a user or into a conversation.
    pub(super) fn new(message: Send) -> Self {
        Self {
            next_id: FIRST_ID,
            client_seq: 1,
            message,
            first_id: FIRST_ID,
            written: VecDeque::new(),
            unanswered: 0,
            position: 0,
        }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Writes a request that is no message, and whose answer is waited for before any other is made.
    pub(super) fn other(&mut self, call: request::Call, out: &mut BytesMut) -> Fallible<()> {
        let request = Request { id: self.next_id, call: Some(call) };
        self.next_id += 1;
        self.first_id += 1;
        Ok(encode_frame(&ClientFrame { body: Some(client_frame::Body::Request(request)) }, out)?)
    }

    /// Writes the next message.
    pub(super) fn message(&mut self, now: Instant, out: &mut BytesMut) -> Fallible<()> {
        let message = Send { client_seq: self.client_seq, ..std::mem::take(&mut self.message) };
        let request = Request { id: self.next_id, call: Some(request::Call::Send(message)) };
        let frame = ClientFrame { body: Some(client_frame::Body::Request(request)) };
        encode_frame(&frame, out)?;
        if let Some(client_frame::Body::Request(Request { call: Some(request::Call::Send(message)), .. })) = frame.body
        {
            self.message = message;
        }
        self.next_id += 1;
        self.client_seq += 1;
        self.written.push_back(Some(now));
        self.unanswered += 1;
        Ok(())
    }

    /// Writes the next message, whose body begins with this number.
    pub(super) fn numbered(&mut self, number: u64, now: Instant, out: &mut BytesMut) -> Fallible<()> {
        let mut body = BytesMut::with_capacity(self.message.body.len());
        body.put_u64_le(number);
        body.put_slice(&self.message.body[8..]);
        self.message.body = body.freeze();
        self.message(now, out)
    }

    /// Takes an answer: how long it took.
    pub(super) fn answered(&mut self, frame: lean::ServerFrame, now: Instant) -> Fallible<Duration> {
        let response = frame.response.ok_or("a request was not answered with a response")?;
        if let Some(failure) = &response.failure {
            return Err(refusal(failure).into());
        }
        let receipt = response.receipt.ok_or("a message was answered without a receipt")?;
        let index = response.id.wrapping_sub(self.first_id) as usize;
        let written = self.written.get_mut(index).and_then(Option::take);
        let written = written.ok_or_else(|| format!("request {} was not asked, or answered before", response.id))?;
        while let Some(None) = self.written.front() {
            self.written.pop_front();
            self.first_id += 1;
        }
        self.unanswered -= 1;
        if receipt.position < self.position {
            return Err(format!("position {} came after {}", receipt.position, self.position).into());
        }
        self.position = receipt.position;
        Ok(now - written)
    }
}

/// A body of so many bytes, at least eight, that looks like nothing in particular.
pub(super) fn body(bytes: usize) -> Bytes {
    (0..bytes.max(8)).map(|at| b'a' + (at * 7 % 26) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64, position: u64) -> lean::ServerFrame {
        let receipt = Some(lean::Receipt { seq: 1, position });
        let response = Some(lean::Response { id: FIRST_ID + id, receipt, failure: None });
        lean::ServerFrame { response, ..Default::default() }
    }

    fn three_messages() -> Requests {
        let mut requests = Requests::new(Send { body: body(10), ..Default::default() });
        let mut out = BytesMut::new();
        (0..3).for_each(|_| requests.message(Instant::now(), &mut out).expect("short"));
        assert_eq!(requests.unanswered(), 3);
        requests
    }

    #[test]
    fn each_request_is_answered_once_in_any_order() {
        let mut requests = three_messages();
        let now = Instant::now();
        for id in [1, 0, 2] {
            assert!(requests.answered(answer(id, 9), now).is_ok(), "the answer to {id}");
            assert!(requests.answered(answer(id, 9), now).is_err(), "a second answer to {id}");
        }
        assert_eq!(requests.unanswered(), 0);
        assert!(requests.answered(answer(3, 9), now).is_err(), "nobody asked");
    }

    #[test]
    fn positions_do_not_go_back() {
        let mut requests = three_messages();
        assert!(requests.answered(answer(0, 9), Instant::now()).is_ok());
        assert!(requests.answered(answer(1, 8), Instant::now()).is_err());
    }
}
