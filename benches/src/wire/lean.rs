//! The wire's messages as far as the load generator looks at them: fields that are not named here are skipped without a
//! copy, so that reading costs little beside what is measured. Tags are those of `highwater_proto::wire`.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServerFrame {
    #[prost(message, optional, tag = "1")]
    pub(crate) welcome: Option<Welcome>,
    #[prost(message, optional, tag = "2")]
    pub(crate) response: Option<Response>,
    #[prost(message, optional, tag = "3")]
    pub(crate) goodbye: Option<Failure>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Welcome {
    #[prost(uint64, tag = "4")]
    pub(crate) last_client_seq: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) failure: Option<Failure>,
    #[prost(message, optional, tag = "3")]
    pub(crate) receipt: Option<Receipt>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Failure {
    #[prost(uint32, tag = "1")]
    pub(crate) code: u32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Receipt {
    #[prost(uint64, tag = "2")]
    pub(crate) seq: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) position: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Delta {
    #[prost(uint64, tag = "1")]
    pub(crate) from: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) to: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) checkpoint: Bytes,
    #[prost(message, repeated, tag = "5")]
    pub(crate) records: Vec<Record>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(uint64, tag = "1")]
    pub(crate) position: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) kind: u32,
    #[prost(bytes = "bytes", tag = "9")]
    pub(crate) body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_proto::wire;
    use prost::Message;

    #[test]
    fn what_is_looked_at_is_where_the_wire_has_it() {
        let record = wire::Record {
            position: 7,
            conversation: "g".to_owned(),
            seq: 3,
            kind: wire::kind::MESSAGE,
            body: Bytes::from_static(b"body"),
            ..Default::default()
        };
        let delta = wire::Delta {
            from: 5,
            to: 9,
            checkpoint: Bytes::from_static(b"checkpoint"),
            caught_up: true,
            records: vec![record],
            ..Default::default()
        };
        let lean = Delta::decode(&delta.encode_to_vec()[..]).expect("well formed");
        assert_eq!((lean.from, lean.to, &lean.checkpoint[..]), (5, 9, &b"checkpoint"[..]));
        let record = &lean.records[0];
        assert_eq!((record.position, record.kind, &record.body[..]), (7, wire::kind::MESSAGE, &b"body"[..]));

        let receipt = wire::Receipt { conversation: "dm:a,b".to_owned(), seq: 3, position: 7, ..Default::default() };
        let outcome = Some(wire::response::Outcome::Receipt(receipt));
        let frame = |body| wire::ServerFrame { body: Some(body) }.encode_to_vec();
        let bytes = frame(wire::server_frame::Body::Response(wire::Response { id: 4, outcome }));
        let response = ServerFrame::decode(&bytes[..]).expect("well formed").response.expect("a response");
        assert_eq!((response.id, response.receipt), (4, Some(Receipt { seq: 3, position: 7 })));

        let welcome = wire::Welcome { last_client_seq: 6, ..Default::default() };
        let bytes = frame(wire::server_frame::Body::Welcome(welcome));
        let welcome = ServerFrame::decode(&bytes[..]).expect("well formed").welcome;
        assert_eq!(welcome, Some(Welcome { last_client_seq: 6 }));

        let failure = wire::Failure { code: 12, message: "busy".to_owned(), ..Default::default() };
        let bytes = frame(wire::server_frame::Body::Goodbye(failure));
        let goodbye = ServerFrame::decode(&bytes[..]).expect("well formed").goodbye;
        assert_eq!(goodbye, Some(Failure { code: 12, message: "busy".to_owned() }));
    }
}
