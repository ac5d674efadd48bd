//! Bytes that no client of ours would send: each is answered by name or dropped, and disturbs nobody else.

use crate::fixture::{Server, Site, all_texts, soon};
use crate::peer::{Peer, connect, message};
use highwater_client::{Client, Code, Message, Page};
use highwater_proto::wire::client_frame::Body as Say;
use highwater_proto::wire::request::Call;
use highwater_proto::wire::response::Outcome;
use highwater_proto::wire::{ALPN, Ack, Hello, HistoryQuery, Members, Subscribe, query};
use rand::{Rng, RngExt, SeedableRng};
use std::time::{Duration, Instant};

fn failure(outcome: Outcome) -> highwater_client::Error {
    match outcome {
        Outcome::Failure(failure) => failure.into(),
        other => panic!("{other:?} in place of a failure"),
    }
}

/// Somebody else's session, which nothing here may disturb.
struct Bystander {
    client: Client,
    begun_ms: u64,
    sent: Vec<String>,
}

impl Bystander {
    async fn new(server: &Server) -> Self {
        server.group("quiet", &["carol"]).await;
        let client = server.sender("carol", "phone").await;
        let begun_ms = client.session().unwrap().time_ms;
        Self { client, begun_ms, sent: Vec::new() }
    }

    async fn goes_on(&mut self, site: &Site) {
        let body = format!("undisturbed {}", self.sent.len());
        soon("a receipt", self.client.send(Message::to_conversation("quiet", body.clone()))).await.unwrap();
        self.sent.push(body);
        assert_eq!(self.client.session().unwrap().time_ms, self.begun_ms, "it is the same session");
        assert_eq!(all_texts(site, "carol").await, self.sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_answered_by_name_and_value() {
    const BODY_MAX: usize = 1_000;
    let server = Server::with_config(&format!("[limits]\nbody_bytes_max = {BODY_MAX}\ndevices_per_user_max = 2\n"));
    server.group("g", &["ann", "bob"]).await;
    let named = |error: highwater_client::Error| (error.code, error.limit.unwrap(), error.value.unwrap());

    // The library says so before it transmits anything, the server says so to whoever asks it all the same.
    let client = server.sender("ann", "phone").await;
    assert_eq!(client.session().unwrap().body_bytes_max, BODY_MAX as u64);
    let sent = client.send(Message::to_conversation("g", vec![b'x'; BODY_MAX + 1]));
    let expected = (Code::LimitExceeded, "body_bytes_max".to_owned(), BODY_MAX as u64);
    assert_eq!(named(soon("a refusal", sent).await.unwrap_err()), expected);
    let (mut peer, _) = Peer::sender(&server, "ann", "tablet").await;
    let refused = peer.ask(message(1, "g", vec![b'x'; BODY_MAX + 1])).await;
    assert_eq!(named(failure(refused)), expected);
    let receipt = peer.ask(message(1, "g", vec![b'x'; BODY_MAX])).await;
    assert!(matches!(receipt, Outcome::Receipt(receipt) if receipt.client_seq == 1), "a refusal uses up no number");

    let mentions = (0..65).map(|number| format!("user {number}"));
    let sent = client.send(Message::to_conversation("g", "x").mention(mentions));
    assert_eq!(named(soon("a refusal", sent).await.unwrap_err()).1, "mentions_max");
    let many = (0..1_001).map(|number| format!("user {number}")).collect();
    let refused = peer.ask(Call::Add(Members { conversation: "g".to_owned(), members: many })).await;
    assert_eq!(named(failure(refused)).2, 1_000);
    let long = "é".repeat(33);
    let refused = peer.ask(Call::Add(Members { conversation: "g".to_owned(), members: vec![long] })).await;
    assert_eq!(named(failure(refused)).2, 64);
    let third = soon("a refusal", server.sending("ann", "watch").connect()).await.unwrap_err();
    assert_eq!(named(third), (Code::LimitExceeded, "devices_per_user_max".to_owned(), 2));
    assert_eq!(all_texts(&server, "bob").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_command_stream_ends_that_session_alone() {
    let server = Server::start();
    let mut bystander = Bystander::new(&server).await;
    let mut random = rand::rngs::StdRng::seed_from_u64(1);
    let mut garbage: Vec<Vec<u8>> = vec![
        // A frame that is longer than allowed, of which nothing follows.
        ((1_u32 << 20) + 1).to_le_bytes().to_vec(),
        u32::MAX.to_le_bytes().to_vec(),
        // A frame without anything in it.
        0_u32.to_le_bytes().to_vec(),
    ];
    for _ in 0..20 {
        let mut frame = vec![0; random.random_range(1..2_000)];
        random.fill_bytes(&mut frame);
        // Of a length that says it is whole.
        let length = frame.len() as u32;
        frame.splice(0..0, length.to_le_bytes());
        garbage.push(frame);
    }
    for (number, bytes) in garbage.iter().enumerate() {
        let (mut peer, _) = Peer::sender(&server, "ann", "phone").await;
        peer.send.write_all(bytes).await.unwrap();
        assert_eq!(peer.goodbye().await.code, Code::Protocol, "garbage {number}");
    }
    // The same before anybody has said who it is.
    for bytes in &garbage {
        let mut peer = Peer::silent(&server).await;
        peer.send.write_all(bytes).await.unwrap();
        assert_eq!(peer.goodbye().await.code, Code::Protocol);
    }
    // Half a frame, and then the end.
    let (mut peer, _) = Peer::sender(&server, "ann", "phone").await;
    let frame = peer.request(message(1, "g", "x"));
    peer.send.write_all(&frame[..frame.len() - 1]).await.unwrap();
    peer.send.finish().unwrap();
    assert_eq!(peer.goodbye().await.code, Code::Protocol);
    bystander.goes_on(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn well_formed_nonsense_is_answered_or_ends_the_session() {
    let server = Server::start();
    let mut bystander = Bystander::new(&server).await;
    server.group("g", &["ann", "bob"]).await;
    let (mut peer, _) = Peer::sender(&server, "ann", "phone").await;
    // What names nothing, and what names the impossible, is refused; the session goes on.
    assert_eq!(failure(peer.ask(message(1, "", "x")).await).code, Code::InvalidArgument);
    assert_eq!(failure(peer.ask(message(1, "a\u{7}b", "x")).await).code, Code::NotFound);
    let number_zero = failure(peer.ask(message(0, "g", "x")).await).code;
    assert!(matches!(number_zero, Code::InvalidArgument | Code::Conflict | Code::AlreadyAccepted), "{number_zero}");
    let ahead = failure(peer.ask(message(5, "g", "x")).await);
    assert_eq!((ahead.code, ahead.value), (Code::OutOfOrder, Some(1)));
    assert_eq!(failure(peer.ask(message(u64::MAX, "g", "x")).await).code, Code::OutOfOrder);
    let nowhere = Subscribe { checkpoint: vec![0xff; 40].into(), ..Default::default() };
    assert_eq!(failure(peer.ask(Call::Subscribe(nowhere)).await).code, Code::InvalidArgument);
    assert!(matches!(peer.ask(message(1, "g", "x")).await, Outcome::Receipt(_)));
    assert_eq!(failure(peer.ask(message(1, "g", "y")).await).code, Code::Conflict);
    match peer.ask(message(1, "g", "x")).await {
        Outcome::Receipt(receipt) => assert!(receipt.repeated),
        other => panic!("{other:?}"),
    }
    // What breaks the order of things ends it.
    let token = server.token("ann");
    peer.say(Say::Hello(Hello { token: token.clone(), ..Default::default() })).await;
    assert_eq!(peer.goodbye().await.code, Code::Protocol);
    let (mut peer, _) = Peer::sender(&server, "ann", "phone").await;
    peer.say(Say::Ack(Ack { checkpoint: vec![1, 2, 3].into() })).await;
    assert_eq!(peer.goodbye().await.code, Code::Protocol);
    let mut peer = Peer::silent(&server).await;
    peer.say(Say::Ack(Ack::default())).await;
    assert_eq!(peer.goodbye().await.code, Code::Protocol);
    bystander.goes_on(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_a_query_stream_ends_that_connection_alone() {
    let server = Server::start();
    let mut bystander = Bystander::new(&server).await;
    let mut long = 2_000_u32.to_le_bytes().to_vec();
    long.resize(100, 0);
    for garbage in [b"\x05\0\0\0hello".to_vec(), long, vec![0xff; 64], vec![3, 0], Vec::new()] {
        let (peer, _) = Peer::sender(&server, "ann", "phone").await;
        let (mut send, _receive) = soon("a stream", peer.connection.open_bi()).await.unwrap();
        send.write_all(&garbage).await.unwrap();
        send.finish().unwrap();
        let closed = soon("the connection's end", peer.connection.closed()).await;
        assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{closed:?}");
    }
    // A query without a question, and one that contradicts itself, are answered.
    let (peer, _) = Peer::sender(&server, "ann", "phone").await;
    let both = HistoryQuery { conversation: "g".to_owned(), before: Some(3), after: Some(1), limit: 0 };
    let answer = peer.question(query::Call::History(both)).await;
    assert_eq!(highwater_client::Error::from(answer.failure.unwrap()).code, Code::InvalidArgument);
    bystander.goes_on(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_datagrams_are_dropped() {
    let server = Server::start();
    let mut bystander = Bystander::new(&server).await;
    let before = server.resident_bytes();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(2);
    for number in 0..20_000_u32 {
        let mut datagram = vec![0; random.random_range(1..1_400)];
        random.fill_bytes(&mut datagram);
        match number % 4 {
            // As if it began a connection: a long header, version 1, and a length of ids that may be.
            0 if datagram.len() > 32 => {
                datagram[0] |= 0xc0;
                datagram[1..6].copy_from_slice(&[0, 0, 0, 1, 8]);
                datagram[14] = 8;
                datagram.resize(1_200, 0);
            }
            // As if it belonged to one.
            1 => datagram[0] = 0x40 | (datagram[0] & 0x3f),
            _ => {}
        }
        // What the system has no room for is lost, as it would be elsewhere.
        let _ = socket.send_to(&datagram, server.address);
    }
    bystander.goes_on(&server).await;
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < 32 << 20, "{growth} bytes more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_or_too_little_is_not_waited_for() {
    const DEADLINE_MS: u64 = 400;
    let server = Server::with_config(&format!("[timeouts]\nhello_ms = {DEADLINE_MS}\n"));
    let started = Instant::now();
    let mute = connect(&server, &[ALPN]).await.unwrap();
    // A stream exists for the server once something was written on it.
    let mut slow = Peer::silent(&server).await;
    slow.send.write_all(&[40, 0]).await.unwrap();
    soon("the mute one's end", mute.closed()).await;
    assert_eq!(slow.goodbye().await.code, Code::Protocol);
    assert!(started.elapsed() >= Duration::from_millis(DEADLINE_MS), "not before the deadline");
    let client = server.reader("ann").await;
    soon("an answer", client.conversations(0, None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_refused_in_the_handshake() {
    /// The TLS alert `no_application_protocol` as a QUIC error.
    const NO_APPLICATION_PROTOCOL: u64 = 0x178;
    let server = Server::start();
    for protocols in [&[b"h3".as_slice()][..], &[b"highwater/2"], &[]] {
        match connect(&server, protocols).await {
            Err(quinn::ConnectionError::ConnectionClosed(close)) => {
                assert_eq!(u64::from(close.error_code), NO_APPLICATION_PROTOCOL, "{close:?}");
            }
            other => panic!("{protocols:?}: {other:?}"),
        }
    }
    connect(&server, &[b"h3", ALPN]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_those_allowed_in_flight_wait_and_are_answered_in_order() {
    const ALLOWED: u32 = 4;
    const SENDS: u64 = 1_000;
    let server = Server::with_config(&format!("[limits]\ncommands_in_flight_max = {ALLOWED}\n"));
    server.group("g", &["ann", "bob"]).await;
    let (mut peer, welcome) = Peer::sender(&server, "ann", "phone").await;
    assert_eq!(welcome.commands_in_flight_max, ALLOWED);
    let mut frames = Vec::new();
    for number in 1..=SENDS {
        frames.extend(peer.request(message(number, "g", vec![b'x'; 3_000])));
    }
    let Peer { send, hearing, .. } = &mut peer;
    let listening = async {
        for number in 1..=SENDS {
            match hearing.answer().await {
                (id, Outcome::Receipt(receipt)) => assert_eq!((id, receipt.client_seq), (number, number)),
                other => panic!("{other:?}"),
            }
        }
    };
    let (written, ()) = tokio::join!(send.write_all(&frames), listening);
    written.unwrap();
    assert_eq!(all_texts(&server, "bob").await.len() as u64, SENDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_nothing_is_no_error() {
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let ann = server.reader("ann").await;
    for page in [Page::Before(0), Page::Before(1), Page::After(1), Page::After(u64::MAX)] {
        assert_eq!(soon("an answer", ann.history("g", page, 0)).await.unwrap(), []);
    }
    let all = soon("an answer", ann.history("g", Page::Before(u64::MAX), u32::MAX)).await.unwrap();
    assert_eq!(all.len(), 1);
}
