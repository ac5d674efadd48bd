//! The bare server: what quinn alone costs in the same arrangement.
//!
//! Transport settings, TLS, threads and streams are those of Highwater's server. It answers each request with a frame of
//! the size of a receipt without looking into it, keeps nothing and promises nothing: what Highwater takes above it is
//! the price of the engine and of its sessions. Members of a group are pushed the frames that Highwater would push; who
//! is in which group stands in the users' names.

mod answer;
mod push;

use super::{Fallible, group_of};
use answer::Answers;
use bytes::{Buf, Bytes, BytesMut};
use highwater_proto::wire::{
    ALPN, ClientFrame, Request, Response, ServerFrame, Subscribed, Target, Welcome, client_frame, encode_frame,
    request, response, server_frame,
};
use highwater_server::limits::{
    CONNECTION_WINDOW_BYTES, QUERIES_AT_ONCE_MAX, SEND_WINDOW_BYTES, STREAM_WINDOW_BYTES, UNAUTHENTICATED_WINDOW_BYTES,
};
use prost::Message;
use push::{Group, Groups};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::udp::UdpSocketState;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, TransportConfig, VarInt};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// As `highwater serve` has it.
const IDLE_MAX: Duration = Duration::from_secs(30);
const CRYPTO_BUFFER_BYTES: usize = 16 << 10;
const READ_BYTES: usize = 64 << 10;
const COMMANDS_PRIORITY: i32 = 2;
const UNAUTHENTICATED_MAX: usize = 1_000;
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// What the bare server is started with.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The directory for its certificate
    #[arg(long)]
    data: PathBuf,
}

/// Serves until it is killed.
pub(crate) fn run(arguments: &Arguments) -> Fallible<()> {
    runtime()?.block_on(async {
        let endpoint = open(&arguments.data)?;
        println!("ready {}", endpoint.local_addr()?);
        accept(endpoint).await;
        Ok(())
    })
}

/// The threads of `highwater serve`, which leave the engine out of account.
fn runtime() -> std::io::Result<Runtime> {
    match std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        0..=2 => Builder::new_current_thread().enable_all().build(),
        processors => Builder::new_multi_thread().worker_threads(processors - 1).enable_all().build(),
    }
}

/// Opens the port, and leaves the certificate in the directory.
pub(super) fn open(data: &Path) -> Fallible<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let state = UdpSocketState::new((&socket).into())?;
    state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES)?;
    state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(Endpoint::new(EndpointConfig::default(), Some(settings(data)?), socket, runtime)?)
}

/// Serves until the endpoint is closed.
pub(super) async fn accept(endpoint: Endpoint) {
    let groups = Arc::new(Groups::default());
    while let Some(incoming) = endpoint.accept().await {
        let groups = groups.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(incoming, &groups).await {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

fn settings(data: &Path) -> Fallible<quinn::ServerConfig> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    let directory = data.join("dev");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("certificate.pem"), certificate.pem())?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = 0;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.transport_config(Arc::new(transport()?)).migration(true).max_incoming(UNAUTHENTICATED_MAX);
    Ok(server)
}

/// As `server/src/endpoint.rs` sets it.
fn transport() -> Fallible<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IDLE_MAX.try_into()?))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(UNAUTHENTICATED_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

/// Cuts a stream into frames, and looks into none.
#[derive(Default)]
struct Frames(BytesMut);

impl Frames {
    fn next(&mut self) -> Option<Bytes> {
        let length = u32::from_le_bytes(*self.0.first_chunk()?) as usize;
        if self.0.len() < 4 + length {
            return None;
        }
        self.0.advance(4);
        Some(self.0.split_to(length).freeze())
    }

    /// False at the end of the stream.
    async fn read(&mut self, receive: &mut RecvStream) -> Fallible<bool> {
        let chunk = receive.read_chunk(READ_BYTES, true).await?;
        let Some(chunk) = chunk else { return Ok(false) };
        self.0.extend_from_slice(&chunk.bytes);
        Ok(true)
    }
}

async fn serve(incoming: Incoming, groups: &Groups) -> Fallible<()> {
    let connection = incoming.accept()?.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let _ = send.set_priority(COMMANDS_PRIORITY);
    let mut frames = Frames::default();
    let hello = loop {
        if let Some(frame) = frames.next() {
            break ClientFrame::decode(frame)?;
        }
        if !frames.read(&mut receive).await? {
            return Ok(());
        }
    };
    let Some(client_frame::Body::Hello(hello)) = hello.body else { return Err("there is no hello".into()) };
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(1 + QUERIES_AT_ONCE_MAX));
    let mut session = Session {
        connection,
        group: groups.of(group_of(&hello.as_user)),
        user: hello.as_user,
        answers: Answers::new(),
        echoes: false,
    };
    let mut out = BytesMut::new();
    let welcome = Welcome { commands_in_flight_max: 256, ..Default::default() };
    encode_frame(&ServerFrame { body: Some(server_frame::Body::Welcome(welcome)) }, &mut out)?;
    loop {
        let mut published = false;
        while let Some(frame) = frames.next() {
            match session.echoes {
                true => session.answers.receipt(&mut out),
                false => published |= session.take(frame, &mut out)?,
            }
        }
        if frames.0.is_empty() {
            // As Highwater's reader: an idle stream keeps no memory.
            frames.0 = BytesMut::new();
        }
        if !out.is_empty() {
            send.write_chunk(out.split().freeze()).await?;
        }
        if published {
            session.group.wake();
        }
        if !frames.read(&mut receive).await? {
            return Ok(());
        }
    }
}

struct Session {
    connection: Connection,
    user: String,
    group: Arc<Group>,
    answers: Answers,
    /// Once it has sent a direct message it sends nothing else, and its frames are not looked into any more.
    echoes: bool,
}

impl Session {
    /// Answers a request. True if there is something new in the group.
    fn take(&mut self, frame: Bytes, out: &mut BytesMut) -> Fallible<bool> {
        let Some(client_frame::Body::Request(Request { id, call: Some(call) })) = ClientFrame::decode(frame)?.body
        else {
            return Err("there is no request".into());
        };
        let outcome = match call {
            request::Call::Send(message) => {
                self.echoes = message.conversation.is_empty();
                if !self.echoes {
                    self.group.publish(&self.user, message);
                }
                self.answers.receipt(out);
                return Ok(!self.echoes);
            }
            request::Call::Subscribe(_) => {
                tokio::spawn(push::serve(self.connection.clone(), self.group.clone()));
                response::Outcome::Subscribed(Subscribed { subscription: 1 })
            }
            _ => response::Outcome::Unchanged(Target::default()),
        };
        self.answers.skip();
        let response = Response { id, outcome: Some(outcome) };
        encode_frame(&ServerFrame { body: Some(server_frame::Body::Response(response)) }, out)?;
        Ok(false)
    }
}
