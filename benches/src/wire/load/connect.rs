//! Reaching a server: sockets that many connections share, tokens, and the first two frames of a session.

use super::super::lean;
use super::super::plan::Target;
use super::super::{DEVICES_PER_SOCKET, Fallible, SOCKETS_MAX};
use bytes::BytesMut;
use highwater_proto::wire::{ALPN, ClientFrame, FrameReader, Hello, client_frame, encode_frame};
use highwater_server::auth::{Claims, Scope, mint};
use highwater_server::config::DEFAULT_AUDIENCE;
use highwater_server::dev::{Directory, KID};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::UdpSocketState;
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Handshakes at the same time: more would wait for each other longer than a server allows.
const HANDSHAKES_AT_ONCE: usize = 32;
const TOKEN_SECONDS: u64 = 3_600;
const READ_BYTES: usize = 64 << 10;
/// Datagrams that a socket may hold unread, in bytes; the kernel may allow less.
const SOCKET_BYTES: usize = 4 << 20;

/// The way to a server.
pub(super) struct Gate {
    sockets: Vec<Endpoint>,
    address: SocketAddr,
    tokens: Tokens,
}

/// An open session.
pub(super) struct Device {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) commands: Commands,
}

/// The answers' side of a command stream.
pub(super) struct Commands {
    receive: RecvStream,
    frames: FrameReader,
}

impl Gate {
    /// Opens sockets for so many devices.
    pub(super) fn open(target: &Target, devices: usize) -> Fallible<Self> {
        let settings = settings(target)?;
        let count = devices.div_ceil(DEVICES_PER_SOCKET).clamp(1, SOCKETS_MAX);
        let socket = || -> Fallible<Endpoint> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            // Real devices do not share a socket, and so do not overflow it.
            UdpSocketState::new((&socket).into())?.set_recv_buffer_size((&socket).into(), SOCKET_BYTES)?;
            let runtime = Arc::new(quinn::TokioRuntime);
            let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
            endpoint.set_default_client_config(settings.clone());
            Ok(endpoint)
        };
        let sockets = (0..count).map(|_| socket()).collect::<Fallible<_>>()?;
        Ok(Self { sockets, address: target.address, tokens: Tokens::of(target)? })
    }

    /// Opens a session that may send.
    async fn session(&self, index: usize, user: String, device: &str) -> Fallible<Device> {
        let socket = &self.sockets[index % self.sockets.len()];
        let connection = socket.connect(self.address, "localhost")?.await?;
        let (mut send, receive) = connection.open_bi().await?;
        let token = self.tokens.mint(&user)?;
        let hello = Hello { token, send: true, as_user: user.clone(), device: device.to_owned() };
        let mut out = BytesMut::new();
        encode_frame(&ClientFrame { body: Some(client_frame::Body::Hello(hello)) }, &mut out)?;
        send.write_chunk(out.freeze()).await?;
        let mut commands = Commands { receive, frames: FrameReader::new() };
        let welcome = commands.next().await?.welcome.ok_or("the hello was not answered with a welcome")?;
        if welcome.last_client_seq != 0 {
            return Err(format!("{user} has sent before: the store is not a new one").into());
        }
        Ok(Device { connection, send, commands })
    }

    /// Opens sessions of these users, in order, a few at a time.
    pub(super) async fn sessions(self: &Rc<Self>, users: Vec<String>, device: &'static str) -> Fallible<Vec<Device>> {
        let permits = Rc::new(Semaphore::new(HANDSHAKES_AT_ONCE));
        let mut opening = JoinSet::new();
        for (index, user) in users.into_iter().enumerate() {
            let (gate, permits) = (self.clone(), permits.clone());
            opening.spawn_local(async move {
                let _permit = permits.acquire().await?;
                Fallible::Ok((index, gate.session(index, user, device).await?))
            });
        }
        let mut opened = Vec::with_capacity(opening.len());
        while let Some(session) = opening.join_next().await {
            opened.push(session??);
        }
        opened.sort_by_key(|(index, _)| *index);
        Ok(opened.into_iter().map(|(_, device)| device).collect())
    }
}

impl Commands {
    /// The next frame that has come in, without waiting.
    pub(super) fn ready(&mut self) -> Fallible<Option<lean::ServerFrame>> {
        let frame: Option<lean::ServerFrame> = self.frames.next()?;
        match frame {
            Some(lean::ServerFrame { goodbye: Some(failure), .. }) => {
                Err(format!("the server said goodbye: code {}, {}", failure.code, failure.message).into())
            }
            frame => Ok(frame),
        }
    }

    /// Waits for bytes. May be broken off.
    pub(super) async fn read(&mut self) -> Fallible<()> {
        let chunk = self.receive.read_chunk(READ_BYTES, true).await?.ok_or("the server finished the command stream")?;
        self.frames.push(&chunk.bytes);
        Ok(())
    }

    /// Waits for a frame.
    pub(super) async fn next(&mut self) -> Fallible<lean::ServerFrame> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            self.read().await?;
        }
    }

    /// Waits for the answer to the only unanswered request, which must not be a refusal.
    pub(super) async fn answer(&mut self) -> Fallible<()> {
        match self.next().await?.response {
            Some(lean::Response { failure: None, .. }) => Ok(()),
            Some(lean::Response { failure: Some(failure), .. }) => Err(refusal(&failure).into()),
            None => Err("a request was not answered with a response".into()),
        }
    }
}

/// A refusal as an error's text.
pub(super) fn refusal(failure: &lean::Failure) -> String {
    format!("a request was refused: code {}, {}", failure.code, failure.message)
}

fn settings(target: &Target) -> Fallible<quinn::ClientConfig> {
    let pem = std::fs::read(target.data.join("dev/certificate.pem"))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // As the client library sets it.
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(Duration::from_secs(10)))
        .max_idle_timeout(Some(Duration::from_secs(30).try_into()?))
        .stream_receive_window(VarInt::from_u32(5 << 18))
        .receive_window(VarInt::from_u32(4 << 20))
        .max_concurrent_uni_streams(VarInt::from_u32(4))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    let mut settings = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    settings.transport_config(Arc::new(transport));
    Ok(settings)
}

/// Signs tokens as a server in development mode believes them; the bare server believes anything.
enum Tokens {
    Minted(Box<jsonwebtoken::EncodingKey>),
    None,
}

impl Tokens {
    fn of(target: &Target) -> Fallible<Self> {
        match target.data.join("dev/signing-key.pem").exists() {
            true => Ok(Tokens::Minted(Box::new(Directory::of(&target.data).signing_key()?.encoding_key()?))),
            false => Ok(Tokens::None),
        }
    }

    fn mint(&self, user: &str) -> Fallible<String> {
        let Tokens::Minted(key) = self else { return Ok(String::new()) };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            sub: user.to_owned(),
            dev: None,
            exp: (now_s + TOKEN_SECONDS).into(),
            aud: DEFAULT_AUDIENCE.into(),
            scope: Some(Scope::User.as_str().to_owned()),
        };
        Ok(mint(&claims, KID, key)?)
    }
}
