//! A server in this process and a client that speaks the bare protocol, well or badly.

use super::*;
use crate::auth::{Claims, mint};
use crate::limits::{HELLO_BYTES_MAX, TOKEN_LEEWAY_MS};
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

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_live_and_can_be_asked_for() {
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    let mut bob = session(&running, "bob", "").await;
    assert!(matches!(ann.call(group(&["bob"])).await, Outcome::Changed(record) if record.kind == kind::CREATE));

    let mut deltas = Deltas::open(&mut bob, Subscribe { live: true, ..Default::default() }).await;
    let first: Delta = deltas.next().await.expect("what was missed");
    assert!(first.caught_up && first.from == 0 && !first.checkpoint.is_empty());
    assert_eq!(first.records.iter().map(|record| record.kind).collect::<Vec<_>>(), [kind::CREATE]);

    // Pipelined: answers carry the requests' ids.
    let ids = [ann.request(message(1, "one")).await, ann.request(message(2, "two")).await];
    for (id, seq) in ids.into_iter().zip([2, 3]) {
        match ann.hear().await {
            Said::Response(Response { id: answered, outcome: Some(Outcome::Receipt(receipt)) }) => {
                assert_eq!((answered, receipt.seq, receipt.repeated), (id, seq, false));
            }
            other => panic!("{other:?}"),
        }
    }
    let (mut bodies, mut covered) = (Vec::new(), first.to);
    while bodies.len() < 2 {
        let delta: Delta = deltas.next().await.expect("live");
        assert_eq!(delta.from, covered, "deltas join");
        covered = delta.to;
        bodies.extend(delta.records.into_iter().map(|record| record.body));
    }
    assert_eq!(bodies, ["one", "two"]);

    let history = HistoryQuery { conversation: "c".to_owned(), limit: 2, ..Default::default() };
    let page = bob.ask(query::Call::History(history.clone())).await;
    assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [2, 3]);
    let before = bob.ask(query::Call::History(HistoryQuery { before: Some(3), ..history })).await;
    assert_eq!(before.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2]);
    let page = bob.ask(query::Call::Conversations(ConversationsQuery::default())).await;
    assert_eq!((page.conversations.len(), page.unread_total), (1, 2));
    assert!(page.cursor.is_empty());
    let members = MembersQuery { conversation: "c".to_owned(), limit: 1, ..Default::default() };
    let page = bob.ask(query::Call::Members(members.clone())).await;
    assert_eq!((page.members.len(), page.member_count), (1, 2));
    let page = bob.ask(query::Call::Members(MembersQuery { cursor: page.cursor, ..members })).await;
    assert_eq!(page.members.len(), 1);
    let devices = ann.ask(query::Call::Devices(DevicesQuery {})).await.devices;
    assert_eq!((devices.len(), &*devices[0].device, devices[0].client_seq), (1, "phone", 2));
    let foreign = HistoryQuery { conversation: "none".to_owned(), ..Default::default() };
    let failure = bob.ask(query::Call::History(foreign)).await.failure.expect("refused");
    assert_eq!(Error::from(failure).code, Code::NotFound);
    running.server.shutdown().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_when_it_has_caught_up() {
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    ann.call(group(&[])).await;
    for client_seq in 1..=5 {
        ann.call(message(client_seq, "hello")).await;
    }
    let mut deltas = Deltas::open(&mut ann, Subscribe { records_max: 2, ..Default::default() }).await;
    let (mut seqs, mut covered, mut caught_up) = (Vec::new(), 0, false);
    while let Some(delta) = deltas.next::<Delta>().await {
        assert!(delta.from == covered && delta.records.len() <= 2 && !caught_up);
        (covered, caught_up) = (delta.to, delta.caught_up);
        seqs.extend(delta.records.into_iter().map(|record| record.seq));
    }
    assert!(caught_up);
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_devices_are_moved_on() {
    let running = start(|config| config.timeouts.quiet = Duration::from_millis(50)).await;
    let mut ann = session(&running, "ann", "phone").await;
    let mut bob = session(&running, "bob", "").await;
    let mut deltas = Deltas::open(&mut bob, Subscribe { live: true, ..Default::default() }).await;
    let first: Delta = deltas.next().await.expect("nothing was missed");
    ann.call(group(&[])).await;
    let delta: Delta = deltas.next().await.expect("an empty delta");
    assert!(delta.records.is_empty() && delta.from == first.to && delta.to > first.to && !delta.checkpoint.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_beginnings_say_why() {
    let running = start(|_| {}).await;
    let data = running.data.path();
    let good = token(data, "ann", None, 60_000);
    let cases = [
        ("no token", Hello::default(), Code::Unauthenticated),
        ("nonsense", Hello { token: "x.y.z".to_owned(), ..Default::default() }, Code::Unauthenticated),
        ("expired", Hello { token: token(data, "ann", None, -10_000), ..Default::default() }, Code::TokenExpired),
        ("no device", Hello { token: good.clone(), send: true, ..Default::default() }, Code::InvalidArgument),
        (
            "as another",
            Hello { token: good.clone(), as_user: "bob".to_owned(), ..Default::default() },
            Code::NotAllowed,
        ),
        (
            "service as nobody",
            Hello {
                token: token(data, "ops", Some("service"), 60_000),
                send: true,
                device: "d".to_owned(),
                ..Default::default()
            },
            Code::InvalidArgument,
        ),
    ];
    for (what, hello, code) in cases {
        let mut client = Client::new(&running).await;
        client.say(Say::Hello(hello)).await;
        assert_eq!(client.goodbye().await.code, code, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection_and_nothing_else() {
    let running = start(|_| {}).await;
    let too_long = u32::try_from(HELLO_BYTES_MAX + 1).expect("small").to_le_bytes();
    let beginnings: [(&str, &[u8]); 4] = [
        ("a frame that is too long", &too_long),
        ("no message", &[3, 0, 0, 0, 0xff, 0xff, 0xff]),
        ("an empty frame", &[0, 0, 0, 0]),
        ("random bytes", &[0x97; 100]),
    ];
    for (what, bytes) in beginnings {
        let mut client = Client::new(&running).await;
        client.write(bytes).await;
        assert_eq!(client.goodbye().await.code, Code::Protocol, "{what}");
    }
    let mut client = Client::new(&running).await;
    client.request(message(1, "before hello")).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);

    let later: [(&str, &[u8]); 3] = [
        ("a frame that is too long", &[0xff; 4]),
        ("no message", &[3, 0, 0, 0, 0xff, 0xff, 0xff]),
        ("an empty frame", &[0, 0, 0, 0]),
    ];
    for (what, bytes) in later {
        let mut client = session(&running, "ann", "phone").await;
        client.write(bytes).await;
        assert_eq!(client.goodbye().await.code, Code::Protocol, "{what}");
    }
    let mut client = session(&running, "ann", "phone").await;
    client.say(Say::Hello(Hello::default())).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);
    let mut client = session(&running, "ann", "phone").await;
    client.say(Say::Ack(Ack { checkpoint: b"x".as_slice().into() })).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);
    let client = session(&running, "ann", "phone").await;
    let (mut send, _receive) = client.connection.open_bi().await.expect("a stream");
    send.write_all(&[0xff; 8]).await.expect("the server takes it");
    assert_eq!(client.goodbye().await.code, Code::Protocol);
    let mut client = session(&running, "ann", "phone").await;
    client.say(Say::Request(Request { id: 9, call: None })).await;
    match client.hear().await {
        Said::Response(Response { id: 9, outcome: Some(Outcome::Failure(failure)) }) => {
            assert_eq!(Error::from(failure).code, Code::InvalidArgument);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.call(group(&[])).await, Outcome::Changed(_)), "the session goes on");
    running.server.shutdown().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let running = start(|config| config.timeouts.hello = Duration::from_millis(100)).await;
    let connection = connect(&running).await;
    assert!(matches!(soon("the close", connection.closed()).await, quinn::ConnectionError::ApplicationClosed(_)));
    let mut client = Client::new(&running).await;
    client.write(&[5, 0, 0, 0]).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_hello_there_is_one_stream() {
    let running = start(|_| {}).await;
    let connection = connect(&running).await;
    let _first = connection.open_bi().await.expect("the command stream");
    assert!(timeout(Duration::from_millis(100), connection.open_bi()).await.is_err());
    assert!(timeout(Duration::from_millis(100), connection.open_uni()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_takes_the_device_over() {
    let running = start(|_| {}).await;
    let mut first = session(&running, "ann", "phone").await;
    first.call(group(&[])).await;
    assert!(matches!(first.call(message(1, "one")).await, Outcome::Receipt(_)));
    let mut second = Client::new(&running).await;
    let token = token(running.data.path(), "ann", None, 60_000);
    let hello = Hello { token, send: true, device: "phone".to_owned(), ..Default::default() };
    assert_eq!(second.hello(hello).await.last_client_seq, 1);
    assert_eq!(first.goodbye().await.code, Code::Replaced);
    assert!(matches!(second.call(message(2, "two")).await, Outcome::Receipt(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_unless_it_is_renewed() {
    let running = start(|_| {}).await;
    let data = running.data.path();
    // The leeway is nearly used up.
    let ends_soon = |left_ms: i64| token(data, "ann", None, left_ms - TOKEN_LEEWAY_MS as i64);
    let mut client = Client::new(&running).await;
    let welcome = client.hello(Hello { token: ends_soon(300), ..Default::default() }).await;
    assert!(welcome.token_valid_ms <= 300);
    assert_eq!(client.goodbye().await.code, Code::TokenExpired);

    let mut renewed = Client::new(&running).await;
    renewed.hello(Hello { token: ends_soon(300), ..Default::default() }).await;
    renewed.say(Say::Token(Token { token: token(data, "ann", None, 60_000) })).await;
    let mut other = Client::new(&running).await;
    other.hello(Hello { token: ends_soon(600), ..Default::default() }).await;
    assert_eq!(other.goodbye().await.code, Code::TokenExpired, "by now the renewed one would be over, too");
    assert!(matches!(renewed.call(group(&[])).await, Outcome::Changed(_)));
    renewed.say(Say::Token(Token { token: token(data, "bob", None, 60_000) })).await;
    assert_eq!(renewed.goodbye().await.code, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_sends_for_users_and_reads_for_nobody() {
    let running = start(|_| {}).await;
    let mut service = Client::new(&running).await;
    let token = token(running.data.path(), "ops", Some("service"), 60_000);
    let hello = |as_user: &str, send: bool| Hello {
        token: token.clone(),
        send,
        as_user: as_user.to_owned(),
        device: "bot".to_owned(),
    };
    service.hello(hello("", false)).await;
    let user = CreateUser { user: "ann".to_owned() };
    assert!(matches!(service.call(Call::CreateUser(user.clone())).await, Outcome::Changed(_)));
    assert!(matches!(service.call(Call::CreateUser(user)).await, Outcome::Unchanged(_)));
    assert!(matches!(service.call(group(&["ann"])).await, Outcome::Changed(record) if record.by_service));
    match service.call(Call::Subscribe(Subscribe::default())).await {
        Outcome::Failure(failure) => assert_eq!(Error::from(failure).code, Code::NotAllowed),
        other => panic!("{other:?}"),
    }
    let history = HistoryQuery { conversation: "c".to_owned(), ..Default::default() };
    assert!(service.ask(query::Call::History(history)).await.failure.is_some());
    let members = MembersQuery { conversation: "c".to_owned(), ..Default::default() };
    assert_eq!(service.ask(query::Call::Members(members)).await.member_count, 1);

    let mut author = Client::new(&running).await;
    assert_eq!(author.hello(hello("ann", true)).await.user, "ann");
    assert!(matches!(author.call(message(1, "for ann")).await, Outcome::Receipt(_)));
    let mut ann = session(&running, "ann", "").await;
    let mut deltas = Deltas::open(&mut ann, Subscribe::default()).await;
    let delta: Delta = deltas.next().await.expect("what was missed");
    let sent = delta.records.last().expect("a message");
    assert_eq!((&*sent.from, &*sent.device, sent.by_service, &sent.body[..]), ("ann", "bot", true, &b"for ann"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_was_accepted() {
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    ann.call(group(&[])).await;
    for client_seq in 1..=100 {
        ann.request(message(client_seq, "hello")).await;
    }
    // The first answer: by now the others are on their way.
    assert!(matches!(ann.hear().await, Said::Response(_)));
    let Running { server, data } = running;
    let shutdown = tokio::spawn(server.shutdown());
    let (mut accepted, mut refused) = (1, 0);
    let goodbye = loop {
        match ann.hear().await {
            Said::Response(Response { outcome: Some(Outcome::Receipt(_)), .. }) => accepted += 1,
            Said::Response(Response { outcome: Some(Outcome::Failure(failure)), .. }) => {
                assert!(Error::from(failure).is_retryable());
                refused += 1;
            }
            Said::Goodbye(failure) => break Error::from(failure),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(goodbye.code, Code::Busy);
    assert!(accepted + refused <= 100);
    soon("the end", shutdown).await.expect("no panic").expect("it drains");

    let server = start_in(data.path(), |_| {}).await;
    let running = Running { server, data };
    let mut ann = Client::new(&running).await;
    let token = token(running.data.path(), "ann", None, 60_000);
    let hello = Hello { token, send: true, device: "phone".to_owned(), ..Default::default() };
    assert_eq!(ann.hello(hello).await.last_client_seq, accepted, "what was acknowledged is there, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_connections() {
    let running = start(|config| config.connections.connections_max = 1).await;
    let _first = session(&running, "ann", "").await;
    assert!(soon("an answer", try_connect(&running)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_opens_a_store() {
    let running = start(|_| {}).await;
    let again = Server::start(Config::dev(running.data.path(), ([127, 0, 0, 1], 0).into())).await;
    match again.err() {
        Some(StartError::Store(error)) => assert_eq!(error.code, Code::Unusable),
        other => panic!("{other:?}"),
    }
    let address = running.server.local_address();
    let taken = tempfile::tempdir().expect("a directory");
    let error = Server::start(Config::dev(taken.path(), address)).await.err().expect("the port is taken");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
