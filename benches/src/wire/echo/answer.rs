//! Answers that cost a copy: a receipt was encoded once, and only the request's id changes in it.
//!
//! The ids of a connection are [`FIRST_ID`] and so on. They stand in five bytes each up to 2^35, so that a frame never
//! changes its size.

use crate::wire::FIRST_ID;
use bytes::{BufMut, BytesMut};
use highwater_proto::wire::{Receipt, Response, ServerFrame, encode_frame, response, server_frame};

/// Where the id begins: after the frame's length, tag and length of the response, and the tag of the id.
const ID_AT: usize = 4 + 2 + 1;
const ID_BYTES: usize = 5;

/// What a connection is answered.
pub(super) struct Answers {
    frame: Vec<u8>,
    next_id: u64,
}

impl Answers {
    pub(super) fn new() -> Self {
        // Numbers of a size that they have in the midst of a run.
        let receipt = Receipt {
            conversation: "dm:w0-00001,w0-00002".to_owned(),
            seq: 20_000,
            position: 3_000_000,
            time_ms: 1_800_000_000_000,
            client_seq: 20_000,
            repeated: false,
        };
        let response = Response { id: FIRST_ID, outcome: Some(response::Outcome::Receipt(receipt)) };
        let mut frame = Vec::new();
        encode_frame(&ServerFrame { body: Some(server_frame::Body::Response(response)) }, &mut frame)
            .expect("a receipt is short");
        Self { frame, next_id: FIRST_ID }
    }

    /// Answers the next request with a receipt.
    pub(super) fn receipt(&mut self, out: &mut BytesMut) {
        let mut id = self.next_id;
        for byte in &mut self.frame[ID_AT..ID_AT + ID_BYTES - 1] {
            *byte = (id & 0x7f) as u8 | 0x80;
            id >>= 7;
        }
        self.frame[ID_AT + ID_BYTES - 1] = id as u8;
        out.put_slice(&self.frame);
        self.next_id += 1;
    }

    /// The next request is answered otherwise.
    pub(super) fn skip(&mut self) {
        self.next_id += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lean;
    use highwater_proto::wire::FrameReader;

    #[test]
    fn every_answer_has_its_own_id() {
        let mut answers = Answers::new();
        let mut out = BytesMut::new();
        for _ in 0..300 {
            answers.receipt(&mut out);
        }
        answers.skip();
        answers.receipt(&mut out);
        let mut frames = FrameReader::new();
        frames.push(&out);
        for id in (0..300).chain([301]) {
            let frame: lean::ServerFrame = frames.next().expect("well formed").expect("whole");
            let response = frame.response.expect("a response");
            assert_eq!(response.id, FIRST_ID + id);
            assert!(response.receipt.is_some_and(|receipt| receipt.position == 3_000_000));
        }
    }
}
