//! A server in this process and a client that speaks the bare protocol, well or badly.

mod abuse;
mod beginnings;
mod endings;
mod streams;

use super::*;
use crate::auth::{Claims, mint};
use crate::limits::{HELLO_BYTES_MAX, TOKEN_LEEWAY_MS};
use bytes::Bytes;
use highwater_proto::wire::client_frame::Body as Say;
use highwater_proto::wire::request::Call;
use highwater_proto::wire::response::Outcome;
use highwater_proto::wire::server_frame::Body as Said;
use highwater_proto::wire::*;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come"),
    }
}

/// A server in a directory of its own.
struct Running {
    server: Server,
    data: tempfile::TempDir,
}

async fn start(change: impl FnOnce(&mut Config)) -> Running {
    let data = tempfile::tempdir().expect("a directory");
    let server = start_in(data.path(), change).await;
    Running { server, data }
}

async fn start_in(data: &Path, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::dev(data, ([127, 0, 0, 1], 0).into());
    change(&mut config);
    Server::start(config).await.expect("it starts")
}

fn token(data: &Path, user: &str, scope: Option<&str>, ends_in_ms: i64) -> String {
    let exp = now_ms().saturating_add_signed(ends_in_ms) as f64 / 1000.0;
    let claims = Claims {
        sub: user.to_owned(),
        dev: None,
        exp: serde_json::Number::from_f64(exp).expect("a number"),
        aud: DEFAULT_AUDIENCE.into(),
        scope: scope.map(str::to_owned),
    };
    let key = Directory::of(data).signing_key().expect("there is a key").encoding_key().expect("it is good");
    mint(&claims, dev::KID, &key).expect("it signs")
}

async fn connect(running: &Running) -> Connection {
    soon("the connection", try_connect(running)).await.expect("it is taken")
}

async fn try_connect(running: &Running) -> Result<Connection, quinn::ConnectionError> {
    let pem = std::fs::read(running.data.path().join("dev/certificate.pem")).expect("there is a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("it can be trusted");
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).expect("a suite for QUIC");
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    endpoint.connect_with(config, running.server.local_address(), "localhost").expect("it can be tried").await
}

/// The client's side of a command stream.
struct Client {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    frames: FrameReader,
    requests: u64,
}

impl Client {
    async fn new(running: &Running) -> Self {
        let connection = connect(running).await;
        let (send, receive) = soon("a stream", connection.open_bi()).await.expect("one is allowed");
        Self { connection, send, receive, frames: FrameReader::new(), requests: 0 }
    }

    async fn say(&mut self, body: Say) {
        let mut frame = Vec::new();
        encode_frame(&ClientFrame { body: Some(body) }, &mut frame).expect("it fits");
        self.write(&frame).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.expect("the server takes it");
    }

    async fn hear(&mut self) -> Said {
        soon("a frame", async {
            loop {
                if let Some(frame) = self.frames.next::<ServerFrame>().expect("the server speaks well") {
                    return frame.body.expect("something");
                }
                let chunk = self.receive.read_chunk(usize::MAX, true).await.expect("the stream goes on");
                self.frames.push(&chunk.expect("there is more").bytes);
            }
        })
        .await
    }

    /// The last frame, and the number that the connection is closed with.
    async fn goodbye(mut self) -> Error {
        let error = match self.hear().await {
            Said::Goodbye(failure) => Error::from(failure),
            other => panic!("{other:?} in place of a goodbye"),
        };
        match soon("the close", self.connection.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code, VarInt::from_u32(Failure::from(&error).code));
            }
            other => panic!("{other:?} in place of a close"),
        }
        error
    }

    async fn hello(&mut self, hello: Hello) -> Welcome {
        self.say(Say::Hello(hello)).await;
        match self.hear().await {
            Said::Welcome(welcome) => welcome,
            other => panic!("{other:?} in place of a welcome"),
        }
    }

    async fn request(&mut self, call: Call) -> u64 {
        self.requests += 1;
        let id = self.requests;
        self.say(Say::Request(Request { id, call: Some(call) })).await;
        id
    }

    async fn call(&mut self, call: Call) -> Outcome {
        let id = self.request(call).await;
        match self.hear().await {
            Said::Response(Response { id: answered, outcome: Some(outcome) }) if answered == id => outcome,
            other => panic!("{other:?} in place of an answer"),
        }
    }

    async fn ask(&self, call: query::Call) -> Answer {
        let mut frame = Vec::new();
        encode_frame(&Query { call: Some(call) }, &mut frame).expect("it fits");
        let (mut send, mut receive) = soon("a stream", self.connection.open_bi()).await.expect("one is allowed");
        send.write_all(&frame).await.expect("the server takes it");
        send.finish().expect("once");
        let bytes = soon("an answer", receive.read_to_end(usize::MAX)).await.expect("all of it");
        let mut frames = FrameReader::new();
        frames.push(&bytes);
        frames.next::<Answer>().expect("the server speaks well").expect("one answer")
    }
}

async fn session(running: &Running, user: &str, device: &str) -> Client {
    let mut client = Client::new(running).await;
    let token = token(running.data.path(), user, None, 60_000);
    let hello = Hello { token, send: !device.is_empty(), device: device.to_owned(), ..Default::default() };
    let welcome = client.hello(hello).await;
    assert_eq!((&*welcome.user, &*welcome.device), (user, device));
    client
}

/// The stream of a subscription: deltas after its first frame.
struct Deltas {
    receive: RecvStream,
    frames: FrameReader,
}

impl Deltas {
    async fn open(client: &mut Client, subscribe: Subscribe) -> Self {
        let Outcome::Subscribed(subscribed) = client.call(Call::Subscribe(subscribe)).await else {
            panic!("not subscribed")
        };
        let receive = soon("a stream", client.connection.accept_uni()).await.expect("it comes");
        let mut deltas = Self { receive, frames: FrameReader::new() };
        assert_eq!(deltas.next::<Subscribed>().await, Some(subscribed));
        deltas
    }

    async fn next<M: prost::Message + Default>(&mut self) -> Option<M> {
        soon("a delta", async {
            loop {
                if let Some(frame) = self.frames.next::<M>().expect("the server speaks well") {
                    return Some(frame);
                }
                let chunk = self.receive.read_chunk(usize::MAX, true).await.expect("the stream goes on")?;
                self.frames.push(&chunk.bytes);
            }
        })
        .await
    }
}

fn message(client_seq: u64, body: &'static str) -> Call {
    Call::Send(Send { client_seq, conversation: "c".to_owned(), body: body.into(), ..Default::default() })
}

fn group(members: &[&str]) -> Call {
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    Call::Create(Create { kind: 2, conversation: "c".to_owned(), members, ..Default::default() })
}
