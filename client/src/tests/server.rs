//! A server that does what a test tells it to.

use crate::command::Numbered;
use crate::link::READ_BYTES;
use highwater_proto::error::Error;
use highwater_proto::wire::request::Call;
use highwater_proto::wire::response::Outcome;
use highwater_proto::wire::{self, FrameReader, client_frame, encode_frame, server_frame};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use rustls::pki_types::PrivateKeyDer;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A test that waits for longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what has to come.
pub(crate) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.expect("what has to come came in time")
}

pub(crate) struct Server {
    endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Vec<u8>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth();
        let mut tls = tls.with_single_cert(vec![key.cert.der().clone()], private).unwrap();
        tls.alpn_protocols = vec![wire::ALPN.to_vec()];
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap();
        Self { endpoint, address, certificate: key.cert.der().to_vec() }
    }

    /// The next connection, its hello read.
    pub(crate) async fn accept(&self) -> Peer {
        self.try_accept().await.expect("a client comes")
    }

    /// Whether the next handshake fails.
    pub(crate) async fn refused_handshake(&self) -> bool {
        self.endpoint.accept().await.unwrap().await.is_err()
    }

    /// The next connection, or nothing if its client has given it up.
    pub(crate) async fn try_accept(&self) -> Option<Peer> {
        let connection = soon(self.endpoint.accept()).await?.await.ok()?;
        let (send, recv) = connection.accept_bi().await.ok()?;
        let mut peer = Peer { connection, send, recv, frames: FrameReader::new(), hello: wire::Hello::default() };
        let client_frame::Body::Hello(hello) = peer.frame().await else { panic!("the first frame is no hello") };
        peer.hello = hello;
        Some(peer)
    }

    /// The next session, opened.
    pub(crate) async fn welcome(&self, last: u64) -> Peer {
        let mut peer = self.accept().await;
        peer.welcome(last).await;
        peer
    }
}

/// The server's side of a session.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    send: SendStream,
    recv: RecvStream,
    frames: FrameReader,
    pub(crate) hello: wire::Hello,
}

impl Peer {
    /// The next frame of the command stream.
    pub(crate) async fn frame(&mut self) -> client_frame::Body {
        loop {
            if let Some(frame) = self.frames.next::<wire::ClientFrame>().unwrap() {
                return frame.body.expect("no frame is empty");
            }
            let chunk = soon(self.recv.read_chunk(READ_BYTES, true)).await.unwrap().expect("a frame is to come");
            self.frames.push(&chunk.bytes);
        }
    }

    /// The next request; acknowledgements before it are left out.
    pub(crate) async fn request(&mut self) -> (u64, Call) {
        loop {
            match self.frame().await {
                client_frame::Body::Request(request) => return (request.id, request.call.unwrap()),
                client_frame::Body::Ack(_) => {}
                frame => panic!("{frame:?} is no request"),
            }
        }
    }

    /// The next request, which sends: its id and number.
    pub(crate) async fn sent(&mut self) -> (u64, wire::Send) {
        match self.request().await {
            (id, Call::Send(send)) => (id, send),
            (_, call) => panic!("{call:?} sends nothing"),
        }
    }

    pub(crate) async fn say(&mut self, body: server_frame::Body) {
        write(&mut self.send, &wire::ServerFrame { body: Some(body) }).await;
    }

    pub(crate) async fn welcome(&mut self, last: u64) {
        self.welcome_with(last, 3_600_000).await;
    }

    pub(crate) async fn welcome_with(&mut self, last: u64, token_valid_ms: u64) {
        let welcome = wire::Welcome {
            incarnation: vec![7; 16].into(),
            user: "grace".to_owned(),
            device: self.hello.device.clone(),
            last_client_seq: last,
            body_bytes_max: 1_000,
            commands_in_flight_max: 4,
            token_valid_ms,
            visible: 0,
            time_ms: 1,
        };
        self.say(server_frame::Body::Welcome(welcome)).await;
    }

    pub(crate) async fn answer(&mut self, id: u64, outcome: Outcome) {
        self.say(server_frame::Body::Response(wire::Response { id, outcome: Some(outcome) })).await;
    }

    pub(crate) async fn refuse(&mut self, id: u64, error: Error) {
        self.answer(id, Outcome::Failure((&error).into())).await;
    }

    pub(crate) async fn receipt(&mut self, id: u64, client_seq: u64, repeated: bool) {
        let (conversation, seq, position) = ("room".to_owned(), 100 + client_seq, 1_000 + client_seq);
        let receipt = wire::Receipt { conversation, seq, position, time_ms: 5, client_seq, repeated };
        self.answer(id, Outcome::Receipt(receipt)).await;
    }

    /// Ends the session and says why, after what was said has arrived.
    pub(crate) async fn goodbye(mut self, error: Error) {
        self.say(server_frame::Body::Goodbye((&error).into())).await;
        self.send.finish().unwrap();
        self.send.stopped().await.ok();
        self.connection.close(VarInt::from_u32(0), b"");
    }

    /// As a server that is killed and comes back.
    pub(crate) fn vanish(self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }

    /// The next request, which subscribes: what it asks for, and its stream.
    pub(crate) async fn subscribed(&mut self) -> (wire::Subscribe, SendStream) {
        let (id, Call::Subscribe(subscribe)) = self.request().await else { panic!("no subscription") };
        let subscribed = wire::Subscribed { subscription: id };
        let mut stream = self.connection.open_uni().await.unwrap();
        write(&mut stream, &subscribed).await;
        self.answer(id, Outcome::Subscribed(subscribed)).await;
        (subscribe, stream)
    }
}

pub(crate) async fn write<M: prost::Message>(stream: &mut SendStream, message: &M) {
    let mut out = Vec::new();
    encode_frame(message, &mut out).unwrap();
    stream.write_all(&out).await.unwrap();
}

pub(crate) fn recall(target: u64) -> Numbered {
    Numbered::Recall { conversation: "room".to_owned(), target }
}
