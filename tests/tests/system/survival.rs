//! Breaks: servers that go and come back, clients with unsent messages, and slow readers (promises P1, P3, P4, P10).

use crate::fixture::{PATIENCE, Running, client, create_group, hear, hear_all, say, soon, texts, token};
use crate::process::{ServerProcess, resident_bytes};
use highwater_client::{ConnectionState, Message, Numbered, SessionKind, SubscribeOptions};
use highwater_tests::world::scratch;
use std::time::{Duration, Instant};

/// What is queued while there is no server arrives once, in order, when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn unsent_messages_arrive_once_after_a_reconnect() {
    let running = Running::start().await;
    let ann = running.sender("ann", "phone").await;
    let bob = running.reader("bob").await;
    create_group(&ann, "g", &["bob"]).await;
    let mut live = bob.subscribe(SubscribeOptions::default());
    let mut running = running;
    let mut expected = Vec::new();
    for round in 0..3 {
        let first = format!("{round}: with a server");
        say(&ann, "g", &first).await;
        expected.push(first);
        let restarting = tokio::spawn(running.restart());
        let mut sendings = Vec::new();
        for number in 0..20 {
            let text = format!("{round}: message {number}");
            expected.push(text.clone());
            sendings.push(ann.enqueue(Numbered::Send(Message::to_conversation("g", text))).await.unwrap());
        }
        running = soon("the restart", restarting).await.unwrap();
        for mut sending in sendings {
            soon("the receipt", sending.receipt()).await.unwrap();
        }
    }
    let heard = hear(&mut live, expected.len()).await;
    assert_eq!(texts(&heard), expected);
    assert_eq!(texts(&hear_all(&ann).await), expected);
}

/// SIGKILL in the middle of a stream of sends: every acknowledged one is there, none twice, and client and reader go on
/// by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_acknowledged() {
    let data = scratch();
    let mut server = ServerProcess::start(data.path(), None, &[]);
    let ann = sender(data.path(), &server.address).await;
    create_group(&ann, "g", &["bob"]).await;
    let bob = client(data.path(), &server.address).token(token(data.path(), "bob", None, 3_600_000));
    let bob = soon("the connection", bob.connect()).await.unwrap();
    let mut live = bob.subscribe(SubscribeOptions::default());
    let mut expected = Vec::new();
    for round in 0..3 {
        let mut sendings = Vec::new();
        for number in 0..200 {
            let text = format!("{round}: {number}");
            expected.push(text.clone());
            sendings.push(ann.enqueue(Numbered::Send(Message::to_conversation("g", text))).await.unwrap());
        }
        soon("some receipt", sendings[20].receipt()).await.unwrap();
        let address = server.address.clone();
        server.kill();
        server = ServerProcess::start(data.path(), Some(&address), &[]);
        for (number, mut sending) in sendings.into_iter().enumerate().filter(|(number, _)| *number != 20) {
            let receipt = soon("the receipt", sending.receipt()).await;
            receipt.unwrap_or_else(|error| panic!("{round}: {number}: {error}"));
        }
    }
    let heard = hear(&mut live, expected.len()).await;
    assert_eq!(texts(&heard), expected);
    assert_eq!(texts(&hear_all(&bob).await), expected);
}

async fn sender(data: &std::path::Path, address: &str) -> highwater_client::Client {
    let builder =
        client(data, address).token(token(data, "ann", None, 3_600_000)).device("phone").session(SessionKind::Send);
    soon("the connection", builder.connect()).await.unwrap()
}

/// A client of a killed server learns of it by the next server's stateless reset, long before its idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_server_notice_at_once() {
    let data = scratch();
    let server = ServerProcess::start(data.path(), None, &[]);
    let ann = sender(data.path(), &server.address).await;
    create_group(&ann, "g", &[]).await;
    let mut states = ann.state();
    states.current();
    let address = server.address.clone();
    server.kill();
    let _server = ServerProcess::start(data.path(), Some(&address), &[]);
    let back = Instant::now();
    // What it sends next goes to a server that does not know the connection.
    let sending = tokio::spawn(async move { ann.send(Message::to_conversation("g", "anybody?")).await });
    loop {
        match soon("a new state", states.changed()).await {
            Some(ConnectionState::Connected(_)) => break,
            Some(ConnectionState::Closed { reason }) => panic!("it closed: {reason:?}"),
            _ => {}
        }
    }
    let noticed = back.elapsed();
    println!("a client of a killed server was connected again {noticed:?} after the next one was ready");
    assert!(noticed < Duration::from_secs(10), "it took {noticed:?}; the idle timeout is 30 s");
    soon("the receipt", sending).await.unwrap().unwrap();
}

/// SIGTERM under load: what was acknowledged is there, the exit code is 0, and the store is sound.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_server_exits_cleanly() {
    let data = scratch();
    let server = ServerProcess::start(data.path(), None, &[]);
    let address = server.address.clone();
    let ann = sender(data.path(), &address).await;
    create_group(&ann, "g", &[]).await;
    let mut sendings = Vec::new();
    for number in 0..300 {
        sendings.push(ann.enqueue(Numbered::Send(Message::to_conversation("g", format!("{number}")))).await.unwrap());
    }
    soon("a receipt", sendings[50].receipt()).await.unwrap();
    let asked = Instant::now();
    assert_eq!(server.terminate(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "the drain took {:?}", asked.elapsed());
    let verified = crate::process::highwater(&["verify", "--data", data.path().to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let _server = ServerProcess::start(data.path(), Some(&address), &[]);
    for (number, mut sending) in sendings.into_iter().enumerate().filter(|(number, _)| *number != 50) {
        soon("the receipt", sending.receipt()).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(texts(&hear_all(&ann).await), expected);
}

/// A reader that does not read costs the server no more memory than its windows, and gets everything afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_no_memory_and_loses_nothing() {
    const MESSAGES: usize = 3_000;
    const BODY_BYTES: usize = 32 << 10;
    let data = scratch();
    let server = ServerProcess::start(data.path(), None, &[]);
    let ann = sender(data.path(), &server.address).await;
    create_group(&ann, "g", &["slow"]).await;
    let slow = client(data.path(), &server.address).token(token(data.path(), "slow", None, 3_600_000));
    let slow = soon("the connection", slow.connect()).await.unwrap();
    let mut subscription = slow.subscribe(SubscribeOptions::default());
    say(&ann, "g", "the first").await;
    hear(&mut subscription, 1).await;
    let mut highest = 0;
    let mut before = 0;
    for round in 0..MESSAGES / 100 {
        let mut sendings = Vec::new();
        for number in 0..100 {
            let mut body = format!("{} ", round * 100 + number).into_bytes();
            body.resize(BODY_BYTES, b'.');
            sendings.push(ann.enqueue(Numbered::Send(Message::to_conversation("g", body))).await.unwrap());
        }
        for mut sending in sendings {
            soon("the receipt", sending.receipt()).await.unwrap();
        }
        let resident = resident_bytes(server.id());
        if round == 4 {
            before = resident;
        }
        highest = highest.max(resident);
    }
    let grown = highest.saturating_sub(before);
    let sent = (MESSAGES - 500) * BODY_BYTES;
    println!("the server grew by {} KiB while {} KiB were kept for a slow reader", grown >> 10, sent >> 10);
    assert!(grown < sent / 3, "it grew by {grown} bytes while {sent} were sent");
    let heard = tokio::time::timeout(PATIENCE * 2, hear(&mut subscription, MESSAGES)).await.expect("it catches up");
    let numbers = heard.iter().map(|heard| heard.text.split(' ').next().unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(0..MESSAGES), "everything, once, in order");
}
