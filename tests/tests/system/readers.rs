//! Readers that are slow, far behind, or on the move.

use crate::fixture::{Server, Site, assert_contiguous, messages, soon, text};
use highwater_client::{Client, Fanout, Message, Numbered, SettingsChange, StateWatch, SubscribeOptions};
use std::time::{Duration, Instant};

/// Sends so many messages of so many bytes, as fast as the server takes them; each begins with its number.
async fn flood(client: &Client, conversation: &str, count: usize, bytes: usize) {
    let mut last = None;
    for number in 1..=count {
        let body = format!("{number:<bytes$}");
        last = Some(client.enqueue(Numbered::Send(Message::to_conversation(conversation, body))).await.unwrap());
    }
    soon("the last receipt", last.unwrap().receipt()).await.unwrap();
}

fn numbers(records: &[highwater_client::Record]) -> Vec<usize> {
    records.iter().filter_map(text).map(|text| text.trim().parse().unwrap()).collect()
}

/// The state of the connection was the same all the time.
fn assert_undisturbed(watch: &StateWatch, begun_ms: u64) {
    let state = watch.current();
    let highwater_client::ConnectionState::Connected(session) = &state else { panic!("{state:?}") };
    assert_eq!(session.time_ms, begun_ms, "it is the same session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_cost_no_memory_and_lose_nothing() {
    const SLOW: usize = 4;
    const COUNT: usize = 6_000;
    const BYTES: usize = 8 << 10;
    /// What the server may grow by while four readers leave 48 MiB each: not even one of their backlogs.
    const GROWTH_BYTES_MAX: u64 = 24 << 20;
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let ann = server.sender("ann", "phone").await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut subscription = server.reader("bob").await.subscribe(SubscribeOptions::default());
        // Its stream is open, and it reads no more of it.
        soon("the first event", subscription.next()).await.unwrap().unwrap();
        slow.push(subscription);
    }
    // What the server needs for sending anyway is there after the first part.
    flood(&ann, "g", COUNT / 4, BYTES).await;
    let before = server.resident_bytes();
    flood(&ann, "g", COUNT - COUNT / 4, BYTES).await;
    let after = server.resident_bytes();
    let growth = after.saturating_sub(before);
    println!("memory of the server: {} MiB, then {} MiB", before >> 20, after >> 20);
    assert!(growth <= GROWTH_BYTES_MAX, "{growth} bytes more");
    let expected: Vec<usize> = (1..=COUNT / 4).chain(1..=COUNT - COUNT / 4).collect();
    for subscription in &mut slow {
        let seen = messages(subscription, COUNT).await;
        assert_contiguous(&seen);
        assert_eq!(numbers(&seen), expected);
    }
}

/// Reads everything from the start, again and again, until told to stop; how often it was through.
async fn catch_up(site: Site, expected: usize, stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let client = site.reader("bob").await;
    let mut rounds = 0;
    while !*stop.borrow() {
        let options = SubscribeOptions { live: false, ..Default::default() };
        let mut subscription = client.subscribe(options);
        let found = messages(&mut subscription, expected).await;
        assert_contiguous(&found);
        assert_eq!(numbers(&found[..expected]), (1..=expected).collect::<Vec<_>>());
        rounds += 1;
    }
    rounds
}

async fn live_beside_catching_up(fanout: Fanout) {
    const BEHIND: usize = 50_000;
    const PROBES: usize = 100;
    /// On a machine whose every core is busy with the catching up.
    const LATENCY_MAX: Duration = Duration::from_secs(3);
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let change = SettingsChange { fanout: Some(fanout), ..Default::default() };
    soon("the setting", server.service().await.settings("g", change)).await.unwrap();
    let ann = server.sender("ann", "phone").await;
    flood(&ann, "g", BEHIND, 1).await;

    let mut live = server
        .reader("bob")
        .await
        .subscribe(SubscribeOptions { start: highwater_client::Start::Snapshot, ..Default::default() });
    // A snapshot, then only what is new.
    while !matches!(
        soon("the snapshot", live.next()).await.unwrap().unwrap(),
        highwater_client::Event::Checkpoint { caught_up: true, .. }
    ) {}
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let behind: Vec<_> = (0..2).map(|_| tokio::spawn(catch_up(server.site.clone(), BEHIND, stopped.clone()))).collect();
    let mut latencies = Vec::new();
    for probe in 1..=PROBES {
        let body = (BEHIND + probe).to_string();
        let sent = Instant::now();
        let (receipt, seen) =
            tokio::join!(ann.send(Message::to_conversation("g", body.clone())), messages(&mut live, 1));
        latencies.push(sent.elapsed());
        receipt.unwrap();
        assert_eq!(text(&seen[0]).unwrap(), body);
    }
    stop.send_replace(true);
    latencies.sort();
    let (median, worst) = (latencies[PROBES / 2], latencies[PROBES - 1]);
    println!("{fanout:?}: live beside catching up: median {median:?}, worst {worst:?}");
    assert!(worst <= LATENCY_MAX, "{worst:?}");
    for task in behind {
        assert!(soon("the end of catching up", task).await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_reader_is_not_held_up_by_one_far_behind_with_fan_out_on_write() {
    live_beside_catching_up(Fanout::Write).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_reader_is_not_held_up_by_one_far_behind_with_fan_out_on_read() {
    live_beside_catching_up(Fanout::Read).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_changes_its_port_goes_on_without_reconnecting() {
    const MOVES: usize = 5;
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let bob = server.reader("bob").await;
    let ann = server.sender("ann", "phone").await;
    let mut live = bob.subscribe(SubscribeOptions::default());
    let begun = [&ann, &bob].map(|client| client.session().unwrap().time_ms);
    let mut states = [ann.state(), bob.state()];
    for watch in &mut states {
        soon("the state at the beginning", watch.changed()).await.unwrap();
    }
    let mut expected = Vec::new();
    let mut ports = std::collections::BTreeSet::new();
    for number in 1..=MOVES {
        for client in [&ann, &bob] {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            ports.insert(socket.local_addr().unwrap().port());
            client.rebind(Some(socket)).unwrap();
        }
        let body = format!("after move {number}");
        soon("a receipt", ann.send(Message::to_conversation("g", body.clone()))).await.unwrap();
        expected.push(body);
        let seen = messages(&mut live, 1).await;
        assert_eq!(text(&seen[0]).as_ref(), expected.last());
        let page = soon("an answer", bob.history("g", highwater_client::Page::Newest, 1)).await.unwrap();
        assert_eq!(page.iter().filter_map(text).last().as_ref(), expected.last());
        for (watch, begun_ms) in states.iter().zip(begun) {
            assert_undisturbed(watch, begun_ms);
        }
    }
    assert!(ports.len() > MOVES, "they did move");
    for watch in &mut states {
        let event = tokio::time::timeout(Duration::ZERO, watch.changed()).await;
        assert!(event.is_err(), "the connection had an event: {event:?}");
    }
}
