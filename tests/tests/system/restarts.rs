//! Servers that are told to stop, and servers that are killed.

use crate::fixture::{Server, all_texts, messages, soon};
use crate::peer::{Peer, message};
use highwater_client::{Client, Code, ConnectionState, Message, Page, StateWatch, SubscribeOptions};
use highwater_proto::wire::response::Outcome;
use highwater_proto::wire::server_frame::Body as Said;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_told_to_stop_answers_what_it_accepted_and_ends_well() {
    const SENDS: u64 = 2_000;
    let mut server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let (mut peer, _) = Peer::sender(&server, "ann", "phone").await;
    let mut frames = Vec::new();
    for number in 1..=SENDS {
        frames.extend(peer.request(message(number, "g", number.to_string())));
    }
    soon("room on the stream", peer.send.write_all(&frames)).await.unwrap();
    let mut accepted = Vec::new();
    let mut refused = 0;
    let mut said_stop = false;
    let farewell = loop {
        match peer.hear().await {
            Ok(Said::Response(response)) => match response.outcome.unwrap() {
                Outcome::Receipt(receipt) => {
                    assert_eq!(receipt.client_seq, response.id, "answers come in order");
                    accepted.push(receipt.client_seq.to_string());
                }
                Outcome::Failure(failure) => {
                    assert_eq!(highwater_client::Error::from(failure).code, Code::Busy);
                    refused += 1;
                }
                other => panic!("{other:?}"),
            },
            Ok(Said::Goodbye(failure)) => break highwater_client::Error::from(failure),
            other => panic!("{other:?} in place of a goodbye"),
        }
        if !said_stop {
            server.terminate();
            said_stop = true;
        }
    };
    assert_eq!(farewell.code, Code::Busy);
    let status = server.ended().await;
    assert_eq!(status.code(), Some(0), "{}", server.log_text());
    println!("{} accepted, {refused} refused while draining", accepted.len());
    server.check_store(1);
    server.restart();
    assert_eq!(all_texts(&server, "bob").await, accepted, "what was accepted is there, and nothing else");
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
    server.check_store(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_after_a_server_that_was_told_to_stop() {
    let mut server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let ann = server.sender("ann", "phone").await;
    let mut live = server.reader("bob").await.subscribe(SubscribeOptions::default());
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..20 {
            let body = format!("{round}/{number}");
            soon("a receipt", ann.send(Message::to_conversation("g", body.clone()))).await.unwrap();
            expected.push(body);
        }
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0));
        server.restart();
    }
    let seen = messages(&mut live, expected.len()).await;
    assert_eq!(seen.iter().filter_map(crate::fixture::text).collect::<Vec<_>>(), expected);
}

/// Waits until a client's session is another one than that which began at this time; how long that took.
async fn new_session(watch: &mut StateWatch, begun_ms: u64, since: Instant) -> Duration {
    soon("another session", async {
        loop {
            if let ConnectionState::Connected(session) = watch.current()
                && session.time_ms != begun_ms
            {
                return since.elapsed();
            }
            watch.changed().await.expect("the client goes on");
        }
    })
    .await
}

/// A question that has an answer as soon as there is a session.
async fn ask(client: &Client) {
    soon("an answer", client.history("g", Page::Newest, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_server_learn_of_it_by_a_stateless_reset() {
    const CLIENTS: usize = 20;
    /// Far below the 10 s of a keep-alive and the 30 s after which a silent connection is given up.
    const NOTICED_WITHIN: Duration = Duration::from_secs(2);
    let mut server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = server.reader("bob").await;
        ask(&client).await;
        clients.push((client.session().unwrap().time_ms, client));
    }
    server.kill();
    server.restart();
    let since = Instant::now();
    let waiting = clients.iter().map(|(begun_ms, client)| {
        let (begun_ms, client) = (*begun_ms, client.clone());
        tokio::spawn(async move {
            // Its packet is the first that the new server gets of the old connection.
            let mut watch = client.state();
            tokio::join!(ask(&client), new_session(&mut watch, begun_ms, since)).1
        })
    });
    let mut longest = Duration::ZERO;
    for task in waiting.collect::<Vec<_>>() {
        longest = longest.max(soon("a client", task).await.unwrap());
    }
    println!("{CLIENTS} clients of a killed server were connected again after {longest:?}");
    assert!(longest < NOTICED_WITHIN, "{longest:?}");
    server.kill();
    server.check_store(2);
}

/// What the reset keys are for: with others, the same clients go on talking to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_keys_of_before_nobody_would_be_told() {
    const NOT_NOTICED_WITHIN: Duration = Duration::from_secs(4);
    let mut server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let bob = server.reader("bob").await;
    ask(&bob).await;
    server.kill();
    std::fs::remove_file(server.data.join("quic.key")).unwrap();
    server.restart();
    let unanswered = tokio::time::timeout(NOT_NOTICED_WITHIN, bob.history("g", Page::Newest, 1)).await;
    assert!(unanswered.is_err(), "it was told: {unanswered:?}");
}
