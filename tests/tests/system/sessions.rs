//! Sessions of good and bad clients: devices of one user, takeover, migration, tokens, and what is not theirs.

use crate::fixture::{PATIENCE, Running, closed, create_group, hear, hear_all, say, soon, texts, token};
use highwater_client::{Code, ConnectionState, Content, Event, Message, Page, SessionKind, SubscribeOptions};
use highwater_proto::wire::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// What one device sends, edits and reads is on the other at once; both end up with the same.
#[tokio::test(flavor = "multi_thread")]
async fn two_devices_of_one_user() {
    let running = Running::start().await;
    let phone = running.sender("ann", "phone").await;
    let laptop = running.sender("ann", "laptop").await;
    let bob = running.sender("bob", "phone").await;
    create_group(&phone, "g", &["bob"]).await;
    let mut live = laptop.subscribe(SubscribeOptions::default());
    let first = say(&phone, "g", "from the phone").await;
    assert_eq!(texts(&hear(&mut live, 1).await), ["from the phone"]);
    say(&laptop, "g", "from the laptop").await;
    let reply = say(&bob, "g", "from bob").await;
    assert_eq!(texts(&hear(&mut live, 2).await), ["from the laptop", "from bob"]);
    soon("the edit", phone.edit("g", first.seq, "from the phone, edited")).await.unwrap();
    soon("the mark", phone.mark_read("g", reply.seq)).await.unwrap();
    let (mut edited, mut read) = (false, false);
    while !(edited && read) {
        match soon("an event", live.next()).await.unwrap().unwrap() {
            Event::Record(record) => match record.content {
                Content::Edit { target, .. } => edited = target == first.seq,
                Content::Read { through } => read = through == reply.seq,
                _ => {}
            },
            _ => continue,
        }
    }
    assert_eq!(hear_all(&phone).await, hear_all(&laptop).await);
    assert_eq!(hear_all(&phone).await[0].text, "from the phone, edited");
    let page = soon("the list", laptop.conversations(0, None)).await.unwrap();
    assert_eq!(page.unread_total, 0, "what was read on one device is read");
    assert_eq!(soon("the devices", phone.devices()).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_of_a_device_takes_over() {
    let running = Running::start().await;
    let older = running.sender("ann", "phone").await;
    create_group(&older, "g", &["bob"]).await;
    say(&older, "g", "one").await;
    let newer = running.sender("ann", "phone").await;
    assert_eq!(closed(older.state()).await, Code::Replaced);
    let refused = soon("the refusal", older.send(Message::to_conversation("g", "too late"))).await;
    assert!(refused.is_err());
    assert_eq!(newer.session().unwrap().last_client_seq, 1);
    assert_eq!(say(&newer, "g", "two").await.client_seq, 2);
    // A read session of the same device does not.
    let reading = running.connect("ann", "phone", SessionKind::Read).await;
    assert_eq!(texts(&hear_all(&reading).await), ["one", "two"]);
    say(&newer, "g", "three").await;
    assert!(matches!(newer.state().current(), ConnectionState::Connected(_)));
}

/// A client whose address changes goes on without reconnecting, in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_migrates() {
    let running = Running::start().await;
    let moving = running.sender("ann", "phone").await;
    let bob = running.sender("bob", "phone").await;
    create_group(&bob, "g", &["ann"]).await;
    let mut states = moving.state();
    states.current();
    let mut live = moving.subscribe(SubscribeOptions::default());
    say(&bob, "g", "before").await;
    assert_eq!(texts(&hear(&mut live, 1).await), ["before"]);
    for round in 0..3 {
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        moving.rebind(Some(socket)).unwrap();
        // What it sends tells the server the new address; what follows comes there.
        say(&moving, "g", &format!("from a new address {round}")).await;
        say(&bob, "g", &format!("to a new address {round}")).await;
        let heard = hear(&mut live, 2).await;
        assert_eq!(texts(&heard), [format!("from a new address {round}"), format!("to a new address {round}")]);
    }
    assert!(matches!(states.current(), ConnectionState::Connected(_)));
    let changed = tokio::time::timeout(Duration::from_millis(1), states.changed()).await;
    assert!(!matches!(changed, Ok(Some(ConnectionState::Backoff { .. }))), "it never reconnected");
    assert_eq!(running.server.engine().devices("ann").unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_no_good_say_why() {
    let running = Running::start().await;
    let data = running.data.path();
    let other = Running::start().await;
    for (what, token, code) in [
        ("none", String::new(), Code::Unauthenticated),
        ("garbage", "garbage".to_owned(), Code::Unauthenticated),
        ("another server's", token(other.data.path(), "ann", None, 60_000), Code::Unauthenticated),
        (
            "cut short",
            token(data, "ann", None, 60_000).trim_end_matches(|_| false)[..40].to_owned(),
            Code::Unauthenticated,
        ),
        ("expired", token(data, "ann", None, -60_000), Code::TokenExpired),
    ] {
        let error = soon("the refusal", running.client().token(token).connect()).await.expect_err(what);
        assert_eq!(error.code, code, "{what}: {error}");
    }
    // Nobody who was refused has come into being.
    assert!(!running.server.engine().user_exists("ann"));
}

/// A token that ends during a session ends the session, unless there is another one in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_during_a_session() {
    let running = Running::start().await;
    let short = token(running.data.path(), "ann", None, 500);
    let fixed = running.client().token(short.clone()).device("fixed").session(SessionKind::Send);
    let fixed = soon("the connection", fixed.connect()).await.unwrap();
    let data = running.data.path().to_owned();
    let provided = running
        .client()
        .token_provider(move || {
            let token = token(&data, "ann", None, 7_000);
            async move { Ok(token) }
        })
        .device("provided")
        .session(SessionKind::Send);
    let provided = soon("the connection", provided.connect()).await.unwrap();
    create_group(&fixed, "g", &["bob"]).await;
    assert_eq!(closed(fixed.state()).await, Code::TokenExpired);
    say(&provided, "g", "still here").await;
    assert!(matches!(provided.state().current(), ConnectionState::Connected(_)));
}

/// Whoever is no member learns nothing of a conversation, not even that it exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_conversation() {
    let running = Running::start().await;
    let ann = running.sender("ann", "phone").await;
    let eve = running.sender("eve", "phone").await;
    create_group(&ann, "secret", &["bob"]).await;
    let seq = say(&ann, "secret", "not for eve").await.seq;
    for id in ["secret", "nowhere"] {
        let refusals = [
            soon("send", eve.send(Message::to_conversation(id, "hello"))).await.err(),
            soon("edit", eve.edit(id, seq, "hello")).await.err(),
            soon("recall", eve.recall(id, seq)).await.err(),
            soon("history", eve.history(id, Page::Newest, 0)).await.err(),
            soon("members", eve.members(id, 0, None)).await.err(),
            soon("add", eve.add(id, vec!["eve".to_owned()])).await.err(),
            soon("join", eve.join(id)).await.err(),
            soon("mark", eve.mark_read(id, seq)).await.err(),
            soon("mute", eve.mute(id)).await.err(),
            soon("leave", eve.leave(id)).await.err(),
        ];
        for refusal in refusals {
            let error = refusal.expect("it is refused");
            assert_eq!(error.code, Code::NotFound, "{error}");
            assert!(!error.message.contains("ann") && !error.message.contains("bob"), "{error}");
        }
    }
    assert_eq!(hear_all(&eve).await, []);
    assert!(soon("the list", eve.conversations(0, None)).await.unwrap().conversations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_body_is_refused_by_name_and_costs_nothing() {
    let running = Running::start_with(|config| config.limits.body_bytes_max = 1_000).await;
    let ann = running.sender("ann", "phone").await;
    create_group(&ann, "g", &[]).await;
    assert_eq!(ann.session().unwrap().body_bytes_max, 1_000);
    let error = soon("the refusal", ann.send(Message::to_conversation("g", vec![b'x'; 1_001]))).await.unwrap_err();
    assert_eq!(
        (error.code, error.limit.as_deref(), error.value),
        (Code::LimitExceeded, Some("body_bytes_max"), Some(1_000))
    );
    let receipt = soon("the receipt", ann.send(Message::to_conversation("g", vec![b'x'; 1_000]))).await.unwrap();
    assert_eq!(receipt.client_seq, 1, "a refused message has no number");
    soon("the receipt", ann.send(Message::to_conversation("g", ""))).await.unwrap();
}

/// Peers that send garbage are cut off; nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_harms_nobody_else() {
    let running = Running::start().await;
    let ann = running.sender("ann", "phone").await;
    create_group(&ann, "g", &[]).await;
    let pem = std::fs::read(running.data.path().join("dev").join("certificate.pem")).unwrap();
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let mut noise = 1_u64;
    for round in 0_usize..12 {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots(&pem))
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let connecting = endpoint.connect_with(config, running.server.local_address(), "localhost").unwrap();
        let connection = soon("the handshake", connecting).await.unwrap();
        let (mut send, _receive) = soon("a stream", connection.open_bi()).await.unwrap();
        let bytes: Vec<u8> = (0..(1 << round))
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        // The server may have hung up before all of it is out.
        let _sent = send.write_all(&bytes).await;
        let _finished = send.finish();
        let ended = tokio::time::timeout(PATIENCE, connection.closed()).await;
        assert!(ended.is_ok(), "{} bytes of garbage end the connection", bytes.len());
        say(&ann, "g", &format!("still here {round}")).await;
    }
    assert_eq!(hear_all(&ann).await.len(), 12);
}

fn roots(pem: &[u8]) -> rustls::RootCertStore {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    roots
}
