//! Who may come in, for how long, and what a token allows.

use crate::fixture::{Server, ending, messages, now_ms, sign_with, soon, text};
use highwater_client::{Code, Fanout, Kind, Message, NewConversation, SessionKind, SettingsChange, SubscribeOptions};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An Ed25519 key that no server knows: the form of PKCS#8 around a seed.
fn strange_key() -> EncodingKey {
    let mut der = vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend([7; 32]);
    EncodingKey::from_ed_der(&der)
}

fn claims(change: Value) -> Value {
    let mut claims = json!({"sub": "ann", "aud": "highwater", "exp": now_ms() / 1000 + 600});
    for (name, value) in change.as_object().unwrap() {
        match value.is_null() {
            true => drop(claims.as_object_mut().unwrap().remove(name)),
            false => claims[name] = value.clone(),
        }
    }
    claims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_not_good_are_refused_by_name() {
    let server = Server::start();
    let past = now_ms() / 1000 - 60;
    // The public key is no secret: whoever signs with it as if it were one must not be believed.
    let public = server.dev_file("signing-key.pub.pem");
    let header = Header { kid: Some("dev".to_owned()), ..Header::new(Algorithm::HS256) };
    let confused = jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(&public)).unwrap();
    let good = server.sign(&claims(json!({})));
    let (head, _) = good.rsplit_once('.').unwrap();
    let dev_key = EncodingKey::from_ed_pem(&server.dev_file("signing-key.pem")).unwrap();
    let cases = [
        ("another key", sign_with(&strange_key(), "dev", &claims(json!({}))), Code::Unauthenticated),
        ("another kid", sign_with(&dev_key, "prod", &claims(json!({}))), Code::Unauthenticated),
        ("another algorithm", confused, Code::Unauthenticated),
        ("no signature", format!("{head}."), Code::Unauthenticated),
        ("none", String::new(), Code::Unauthenticated),
        ("no token", "good morning".to_owned(), Code::Unauthenticated),
        ("a long one", "x".repeat(5_000), Code::Protocol),
        ("another audience", server.sign(&claims(json!({"aud": "elsewhere"}))), Code::Unauthenticated),
        ("no audience", server.sign(&claims(json!({"aud": null}))), Code::Unauthenticated),
        ("no end", server.sign(&claims(json!({"exp": null}))), Code::Unauthenticated),
        ("no user", server.sign(&claims(json!({"sub": ""}))), Code::Unauthenticated),
        ("a user with a line break", server.sign(&claims(json!({"sub": "a\nb"}))), Code::Unauthenticated),
        ("a scope that is not known", server.sign(&claims(json!({"scope": "root"}))), Code::Unauthenticated),
        ("an expired one", server.sign(&claims(json!({"exp": past}))), Code::TokenExpired),
    ];
    for (what, token, expected) in cases {
        let refused = soon(what, server.anonymous().token(token).connect()).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(refused.code, expected, "{what}: {refused}");
    }
    soon("a session", server.anonymous().token(good).connect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_a_device_is_good_for_no_other() {
    let server = Server::start();
    let token = server.sign(&claims(json!({"dev": "phone"})));
    let open = |device: &str| {
        let builder = server.anonymous().token(token.clone()).session(SessionKind::Send);
        let builder = if device.is_empty() { builder } else { builder.device(device) };
        async move { soon("an answer", builder.connect()).await.map(|client| client.session().unwrap().device) }
    };
    assert_eq!(open("").await.unwrap().as_deref(), Some("phone"));
    assert_eq!(open("phone").await.unwrap().as_deref(), Some("phone"));
    assert_eq!(open("tablet").await.unwrap_err().code, Code::NotAllowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_token() {
    let server = Server::start();
    let good_until = now_ms() + 1_500;
    let client = server.anonymous().token(server.token_until("ann", good_until)).connect();
    let client = soon("a session", client).await.unwrap();
    let mut subscription = client.subscribe(SubscribeOptions::default());
    assert_eq!(ending(&client).await.code, Code::TokenExpired);
    assert!(now_ms() >= good_until, "not before its time");
    let error = loop {
        match soon("the subscription's end", subscription.next()).await.expect("it says why it ends") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::TokenExpired);
    let refused = soon("an answer", client.conversations(0, None)).await.unwrap_err();
    assert_eq!(refused.code, Code::TokenExpired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_token_is_renewed_goes_on() {
    const GOOD_FOR_MS: u64 = 2_000;
    const RENEWALS: usize = 3;
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let minted = Arc::new(AtomicUsize::new(0));
    let (site, count) = (server.site.clone(), minted.clone());
    let client = server.anonymous().session(SessionKind::Send).device("phone").token_provider(move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(site.token_until("ann", now_ms() + GOOD_FOR_MS)))
    });
    let client = soon("a session", client.connect()).await.unwrap();
    let begun_ms = client.session().unwrap().time_ms;
    let mut subscription = client.subscribe(SubscribeOptions::default());
    let mut sent = 0;
    // Long after the first token's end.
    while minted.load(Ordering::Relaxed) <= RENEWALS || now_ms() < begun_ms + 2 * GOOD_FOR_MS {
        sent += 1;
        soon("a receipt", client.send(Message::to_conversation("g", sent.to_string()))).await.unwrap();
        assert_eq!(text(&messages(&mut subscription, 1).await[0]), Some(sent.to_string()));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(client.session().unwrap().time_ms, begun_ms, "it is the same session");
    println!("{} tokens, {sent} messages", minted.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_may_not_do_what_a_service_may() {
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let ann = server.reader("ann").await;
    let pin = SettingsChange { fanout: Some(Fanout::Read), ..Default::default() };
    let owned = NewConversation {
        id: Some("h".to_owned()),
        owner: Some("bob".to_owned()),
        ..NewConversation::new(Kind::Group)
    };
    assert_eq!(ann.create_user("eve").await.unwrap_err().code, Code::NotAllowed);
    assert_eq!(ann.settings("g", pin).await.unwrap_err().code, Code::NotAllowed);
    assert_eq!(ann.create(owned.clone()).await.unwrap_err().code, Code::NotAllowed);
    let as_bob = server.sending("ann", "phone").as_user("bob").connect();
    assert_eq!(soon("an answer", as_bob).await.unwrap_err().code, Code::NotAllowed);

    let service = server.service().await;
    service.create_user("eve").await.unwrap();
    service.settings("g", pin).await.unwrap();
    service.create(owned).await.unwrap();
    let as_bob = server.anonymous().token(server.service_token()).as_user("bob").session(SessionKind::Send);
    let as_bob = soon("a session", as_bob.device("bot").connect()).await.unwrap();
    let receipt = soon("a receipt", as_bob.send(Message::to_conversation("h", "for bob"))).await.unwrap();
    let record = &server.reader("bob").await.history("h", highwater_client::Page::Newest, 1).await.unwrap()[0];
    assert_eq!((record.seq, record.from.as_deref()), (Some(receipt.seq), Some("bob")));
    assert!(record.by_service, "it is told that bob did not do it himself");
    // A service is nobody: there is nothing that it could read.
    assert_eq!(service.conversations(0, None).await.unwrap_err().code, Code::NotAllowed);
    assert_eq!(as_bob.history("h", highwater_client::Page::Newest, 1).await.unwrap_err().code, Code::NotAllowed);
}
