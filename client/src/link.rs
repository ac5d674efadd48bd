//! One connection: reaching the server, proving who is who, and opening the session.

use crate::builder::{Config, SessionKind};
use crate::sockets::Sockets;
use crate::state::Session;
use bytes::BytesMut;
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::{ClientFrame, FrameReader, Hello, ServerFrame, client_frame, encode_frame, server_frame};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A quiet connection says that it is there, so that neither side nor a router in between gives it up.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A connection from which nothing came for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Bytes that one stream may have under way or unread: a frame of the longest kind and some more.
const STREAM_WINDOW_BYTES: u32 = 5 << 18;
/// Bytes that all streams together may: deltas nobody reads must not hold up answers.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Streams that the server may have open towards us: a subscription, and the ones it takes the place of.
const SERVER_STREAMS_MAX: u32 = 4;
/// Bytes taken off a stream at a time.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// How long a token provider may take.
pub(crate) const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Addresses of a name that are tried, all at the same time.
const ADDRESSES_MAX: usize = 8;

/// An open session, for those who need streams of their own on it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) session: Arc<Session>,
}

/// The present link, and the sockets under all that come.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    present: Arc<watch::Sender<Option<Link>>>,
    pub(crate) sockets: Sockets,
}

impl Links {
    pub(crate) fn new(sockets: Sockets) -> Self {
        Self { present: Arc::new(watch::Sender::new(None)), sockets }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Link>> {
        self.present.subscribe()
    }

    pub(crate) fn set(&self, link: Option<Link>) {
        self.present.send_replace(link);
    }
}

/// A session that has just begun, with its command stream.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) frames: FrameReader,
}

/// Connects and opens a session, within the configured time.
pub(crate) async fn open(config: &Config, links: &Links) -> Result<Opened, Error> {
    let token = match tokio::time::timeout(TOKEN_TIMEOUT, config.tokens.token()).await {
        Ok(token) => token?,
        Err(_) => return Err(Error::new(Code::Unreachable, "no token was provided in time")),
    };
    let reach = async {
        let connection = connect(config, links).await?;
        let opened = say_hello(config, connection.clone(), token).await;
        if opened.is_err() {
            connection.close(VarInt::from_u32(0), b"");
        }
        opened
    };
    match tokio::time::timeout(config.connect_timeout, reach).await {
        Ok(opened) => opened,
        Err(_) => Err(Error::new(
            Code::Unreachable,
            format!("{} did not answer within {} ms", config.server, config.connect_timeout.as_millis()),
        )),
    }
}

async fn connect(config: &Config, links: &Links) -> Result<Connection, Error> {
    let found = tokio::net::lookup_host(&config.server).await.map_err(|error| {
        let code =
            if error.kind() == std::io::ErrorKind::InvalidInput { Code::InvalidArgument } else { Code::Unreachable };
        Error::new(code, format!("the address {} cannot be resolved: {error}", config.server))
    })?;
    let host = config.server.rsplit_once(':').map_or(config.server.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = config.server_name.as_deref().unwrap_or(host);
    let settings = settings(config)?;
    let mut attempts = JoinSet::new();
    let mut failure = Error::new(Code::Unreachable, format!("the name {} has no address", config.server));
    for address in found.take(ADDRESSES_MAX) {
        // A machine without one kind of address reaches the server by the other.
        match links.sockets.endpoint(address.is_ipv4()) {
            Ok(endpoint) => match endpoint.connect_with(settings.clone(), address, name) {
                Ok(connecting) => _ = attempts.spawn(connecting.into_future()),
                Err(quinn::ConnectError::InvalidServerName(name)) => {
                    return Err(Error::new(Code::InvalidArgument, format!("{name} is no server name")));
                }
                Err(error) => failure = Error::new(Code::Unreachable, error.to_string()),
            },
            Err(error) => failure = error,
        }
    }
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failure = broken(&error),
            Err(error) => failure = Error::new(Code::Unreachable, error.to_string()),
        }
    }
    Err(failure)
}

fn settings(config: &Config) -> Result<quinn::ClientConfig, Error> {
    let quic = QuicClientConfig::try_from(config.tls.clone())
        .map_err(|error| Error::new(Code::InvalidArgument, format!("TLS cannot be used for QUIC: {error}")))?;
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE_MAX.try_into().expect("half a minute fits")))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .max_concurrent_uni_streams(VarInt::from_u32(SERVER_STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    let mut settings = quinn::ClientConfig::new(Arc::new(quic));
    settings.transport_config(Arc::new(transport));
    Ok(settings)
}

async fn say_hello(config: &Config, connection: Connection, token: String) -> Result<Opened, Error> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| broken(&error))?;
    let hello = Hello {
        token,
        send: config.kind == SessionKind::Send,
        as_user: config.as_user.clone(),
        device: config.device.clone(),
    };
    let mut out = BytesMut::new();
    encode_frame(&ClientFrame { body: Some(client_frame::Body::Hello(hello)) }, &mut out)?;
    // A server that refuses may do so before it has read everything: its word counts for more than a failed write.
    let written = send.write_all(&out).await;
    let mut frames = FrameReader::new();
    let first: ServerFrame = loop {
        if let Some(frame) = frames.next()? {
            break frame;
        }
        match recv.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => frames.push(&chunk.bytes),
            Ok(None) => return Err(Error::new(Code::Unreachable, "the server ended the session before it began")),
            Err(error) => return Err(written.err().map_or_else(|| read_failed(&error), |error| write_failed(&error))),
        }
    };
    match first.body {
        Some(server_frame::Body::Welcome(welcome)) => {
            let session = Arc::new(Session::try_from(welcome)?);
            Ok(Opened { link: Link { connection, session }, send, recv, frames })
        }
        Some(server_frame::Body::Goodbye(failure)) => Err(failure.into()),
        Some(server_frame::Body::Response(_)) | None => {
            Err(Error::new(Code::Protocol, "the server did not answer the hello"))
        }
    }
}

/// What the end of a connection means to a caller.
pub(crate) fn broken(error: &ConnectionError) -> Error {
    /// Codes from here up to 0x1ff carry a TLS alert.
    const CRYPTO: u64 = 0x100;
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    match error {
        ConnectionError::TransportError(transport) => match u64::from(transport.code).checked_sub(CRYPTO) {
            Some(NO_APPLICATION_PROTOCOL) => Error::new(Code::Protocol, "the server does not speak highwater/1"),
            Some(0..=0xff) => {
                Error::new(Code::Unauthenticated, format!("the server's certificate is not trusted: {transport}"))
            }
            _ => Error::new(Code::Unreachable, format!("the connection failed: {transport}")),
        },
        ConnectionError::ApplicationClosed(close) => closed_by_server(close),
        ConnectionError::VersionMismatch => Error::new(Code::Protocol, "the server speaks another version of QUIC"),
        error => Error::new(Code::Unreachable, format!("the connection ended: {error}")),
    }
}

/// A server that closes a connection gives the number of a code and a reason; its last frame may have been lost.
fn closed_by_server(close: &quinn::ApplicationClose) -> Error {
    let reason = String::from_utf8_lossy(&close.reason);
    let index = usize::try_from(close.error_code.into_inner()).unwrap_or(usize::MAX).checked_sub(1);
    match index.and_then(|index| Code::ALL.get(index)) {
        Some(code) => Error::new(*code, reason),
        None => Error::new(Code::Unreachable, "the server closed the connection"),
    }
}

/// What a failed read means to a caller.
pub(crate) fn read_failed(error: &quinn::ReadError) -> Error {
    match error {
        quinn::ReadError::ConnectionLost(error) => broken(error),
        error => Error::new(Code::Busy, format!("the server gave up a stream: {error}")),
    }
}

/// What a failed write means to a caller.
pub(crate) fn write_failed(error: &quinn::WriteError) -> Error {
    match error {
        quinn::WriteError::ConnectionLost(error) => broken(error),
        error => Error::new(Code::Busy, format!("the server gave up a stream: {error}")),
    }
}
