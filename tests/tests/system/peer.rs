//! A client that speaks the bare protocol, well or badly.

use crate::fixture::{Site, soon};
use highwater_client::Error;
use highwater_proto::wire::client_frame::Body as Say;
use highwater_proto::wire::request::Call;
use highwater_proto::wire::response::Outcome;
use highwater_proto::wire::server_frame::Body as Said;
use highwater_proto::wire::{ALPN, Answer, ClientFrame, FrameReader, Hello, Query, Request, ServerFrame, Welcome};
use highwater_proto::wire::{encode_frame, query};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;

/// Connects, offering these protocols.
pub(crate) async fn connect(site: &Site, protocols: &[&[u8]]) -> Result<Connection, ConnectionError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&site.dev_file("certificate.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    soon("the handshake's end", endpoint.connect_with(config, site.address, "localhost").unwrap()).await
}

/// The client's side of a command stream.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) hearing: Hearing,
    requests: u64,
}

/// What the server says on a command stream.
pub(crate) struct Hearing {
    receive: RecvStream,
    frames: FrameReader,
}

impl Peer {
    /// A connection with a stream, and nothing said yet.
    pub(crate) async fn silent(site: &Site) -> Self {
        let connection = connect(site, &[ALPN]).await.unwrap();
        let (send, receive) = soon("a stream", connection.open_bi()).await.unwrap();
        Self { connection, send, hearing: Hearing { receive, frames: FrameReader::new() }, requests: 0 }
    }

    /// A session that sends.
    pub(crate) async fn sender(site: &Site, user: &str, device: &str) -> (Self, Welcome) {
        let mut peer = Self::silent(site).await;
        let hello = Hello { token: site.token(user), send: true, device: device.to_owned(), ..Default::default() };
        peer.say(Say::Hello(hello)).await;
        match peer.hear().await {
            Ok(Said::Welcome(welcome)) => (peer, welcome),
            other => panic!("{other:?} in place of a welcome"),
        }
    }

    pub(crate) async fn say(&mut self, body: Say) {
        let mut frame = Vec::new();
        encode_frame(&ClientFrame { body: Some(body) }, &mut frame).unwrap();
        soon("room on the stream", self.send.write_all(&frame)).await.unwrap();
    }

    /// Makes a request's frame, with the next id.
    pub(crate) fn request(&mut self, call: Call) -> Vec<u8> {
        self.requests += 1;
        let request = Request { id: self.requests, call: Some(call) };
        let mut frame = Vec::new();
        encode_frame(&ClientFrame { body: Some(Say::Request(request)) }, &mut frame).unwrap();
        frame
    }

    pub(crate) async fn hear(&mut self) -> Result<Said, String> {
        self.hearing.next().await
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, call: Call) -> Outcome {
        let frame = self.request(call);
        soon("room on the stream", self.send.write_all(&frame)).await.unwrap();
        self.hearing.answer().await.1
    }

    /// The last frame's reason; the connection is closed then.
    pub(crate) async fn goodbye(&mut self) -> Error {
        let error = match self.hear().await {
            Ok(Said::Goodbye(failure)) => Error::from(failure),
            other => panic!("{other:?} in place of a goodbye"),
        };
        soon("the connection's end", self.connection.closed()).await;
        error
    }

    /// A question on a stream of its own.
    pub(crate) async fn question(&self, call: query::Call) -> Answer {
        let (mut send, mut receive) = soon("a stream", self.connection.open_bi()).await.unwrap();
        let mut frame = Vec::new();
        encode_frame(&Query { call: Some(call) }, &mut frame).unwrap();
        send.write_all(&frame).await.unwrap();
        send.finish().unwrap();
        let bytes = soon("an answer", receive.read_to_end(4 << 20)).await.unwrap();
        let mut frames = FrameReader::new();
        frames.push(&bytes);
        frames.next().unwrap().unwrap()
    }
}

impl Hearing {
    /// The next frame, or why there is none.
    pub(crate) async fn next(&mut self) -> Result<Said, String> {
        loop {
            if let Some(frame) = self.frames.next::<ServerFrame>().unwrap() {
                return frame.body.ok_or_else(|| "an empty frame".to_owned());
            }
            match soon("a frame", self.receive.read_chunk(usize::MAX, true)).await {
                Ok(Some(chunk)) => self.frames.push(&chunk.bytes),
                Ok(None) => return Err("the stream ended".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The next answer, with its request's id.
    pub(crate) async fn answer(&mut self) -> (u64, Outcome) {
        match self.next().await {
            Ok(Said::Response(response)) => (response.id, response.outcome.unwrap()),
            other => panic!("{other:?} in place of an answer"),
        }
    }
}

/// A message to a conversation, under a number.
pub(crate) fn message(client_seq: u64, conversation: &str, body: impl Into<bytes::Bytes>) -> Call {
    Call::Send(highwater_proto::wire::Send {
        client_seq,
        conversation: conversation.to_owned(),
        body: body.into(),
        ..Default::default()
    })
}
