//! Several devices of one user, one device in several places, and queues that wait for a server.

use crate::fixture::{Server, Site, all_texts, assert_contiguous, ending, messages, soon, text};
use highwater_client::{Client, Code, Message, Numbered, Sending, StateDir, SubscribeOptions};

/// Queues messages and does not wait for their receipts.
async fn queue(client: &Client, conversation: &str, texts: impl IntoIterator<Item = String>) -> Vec<Sending> {
    let mut sendings = Vec::new();
    for text in texts {
        let command = Numbered::Send(Message::to_conversation(conversation, text));
        sendings.push(client.enqueue(command).await.unwrap());
    }
    sendings
}

fn numbered(name: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{name} {number}")).collect()
}

/// Those of one author's numbered texts, in the order in which they stand.
fn of(name: &str, texts: &[String]) -> Vec<String> {
    texts.iter().filter(|text| text.starts_with(&format!("{name} "))).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_devices_of_a_user_get_everything_in_one_order() {
    const EACH: usize = 100;
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let senders = [
        ("phone", server.sender("ann", "phone").await),
        ("tablet", server.sender("ann", "tablet").await),
        ("bob", server.sender("bob", "phone").await),
    ];
    let reading = senders.each_ref().map(|(_, client)| {
        let mut subscription = client.subscribe(SubscribeOptions::default());
        tokio::spawn(async move { messages(&mut subscription, 3 * EACH).await })
    });
    let sending = senders.map(|(name, client)| {
        tokio::spawn(async move {
            for mut sending in queue(&client, "g", numbered(name, EACH)).await {
                soon("a receipt", sending.receipt()).await.unwrap();
            }
            // Kept, so that its subscription goes on.
            client
        })
    });
    let mut clients = Vec::new();
    for task in sending {
        clients.push(task.await.unwrap());
    }
    let [phone, tablet, bob] = reading;
    let phone = phone.await.unwrap();
    assert_contiguous(&phone);
    assert_eq!(phone.first().unwrap().seq, Some(2), "the create record is the first");
    assert_eq!(phone, tablet.await.unwrap());
    assert_eq!(phone, bob.await.unwrap());
    let texts: Vec<String> = phone.iter().filter_map(text).collect();
    for name in ["phone", "tablet", "bob"] {
        assert_eq!(of(name, &texts), numbered(name, EACH), "a device's messages stay in its order");
    }
    assert_eq!(all_texts(&server, "ann").await, texts, "a device that comes later gets the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_takes_over_and_what_was_not_acknowledged_is_sent_again() {
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let state = StateDir::new(server.scratch().join("state"), "ann", "phone").unwrap();
    let first = server.sending("ann", "phone").outgoing(state.outgoing("here").unwrap());
    let first = soon("the first session", first.connect()).await.unwrap();

    // It sends without pause until it is told to go.
    let writer = {
        let first = first.clone();
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                let message = Message::to_conversation("g", format!("ann {}", sent + 1));
                if let Err(error) = first.enqueue(Numbered::Send(message)).await {
                    assert_eq!(error.code, Code::Replaced);
                    return sent;
                }
                sent += 1;
            }
        })
    };
    let mut seen = server.reader("bob").await.subscribe(SubscribeOptions::default());
    messages(&mut seen, 20).await;
    let second = server.sender("ann", "phone").await;
    let taken_over_at = second.session().unwrap().last_client_seq;
    assert_eq!(ending(&first).await.code, Code::Replaced);
    let sent = soon("the writer's end", writer).await.unwrap();
    assert!(taken_over_at >= 20 && sent as u64 >= taken_over_at, "{taken_over_at} of {sent}");
    drop(first);

    // The same installation comes back: what it does not know to be accepted is sent again, under its old numbers.
    let third = soon("the store", reopened(&server, &state)).await;
    let session = soon("the third session", third.connected()).await.unwrap();
    assert_eq!(session.last_client_seq, taken_over_at, "the second one sent nothing");
    assert_eq!(ending(&second).await.code, Code::Replaced, "it is told without having asked anything");
    let unsent = third.unsent().await.unwrap();
    println!("{sent} sent, {taken_over_at} accepted before the takeover, {} not acknowledged", unsent.len());
    for (_, mut sending) in unsent {
        let receipt = soon("a receipt", sending.receipt()).await.unwrap();
        assert_eq!(receipt.repeated, receipt.client_seq <= taken_over_at);
    }
    let last = soon("a receipt", third.send(Message::to_conversation("g", "last"))).await.unwrap();
    assert_eq!(last.client_seq, sent as u64 + 1, "numbers have no hole");
    let mut expected = numbered("ann", sent);
    expected.push("last".to_owned());
    assert_eq!(all_texts(&server, "bob").await, expected);
}

/// A client on the first one's store, as soon as that has let go of it.
async fn reopened(site: &Site, state: &StateDir) -> Client {
    loop {
        match state.outgoing("here") {
            Ok(store) => return site.sending("ann", "phone").outgoing(store).start().unwrap(),
            Err(error) => assert_eq!(error.code, Code::Busy, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_outlives_kills_of_the_server_and_goes_out_once_and_in_order() {
    const ROUNDS: usize = 3;
    const EACH: usize = 400;
    let mut server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let ann = server.sender("ann", "phone").await;
    let mut live = server.reader("bob").await.subscribe(SubscribeOptions::default());
    let mut sendings = Vec::new();
    for round in 0..ROUNDS {
        let texts = |half: usize| {
            let begin = (2 * round + half) * EACH;
            (begin..begin + EACH).map(|number| format!("ann {}", number + 1)).collect::<Vec<_>>()
        };
        let mut under_way = queue(&ann, "g", texts(0)).await;
        soon("a receipt", under_way[EACH / 8].receipt()).await.unwrap();
        server.kill();
        sendings.extend(under_way);
        sendings.extend(queue(&ann, "g", texts(1)).await);
        server.restart();
    }
    let mut numbers = Vec::new();
    for (index, sending) in sendings.iter_mut().enumerate() {
        if index % EACH != EACH / 8 || index / EACH % 2 == 1 {
            numbers.push(soon("a receipt", sending.receipt()).await.unwrap().client_seq);
        }
    }
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let expected = numbered("ann", 2 * ROUNDS * EACH);
    let seen = messages(&mut live, expected.len()).await;
    assert_contiguous(&seen);
    assert_eq!(seen.iter().filter_map(text).collect::<Vec<_>>(), expected, "live, over all kills");
    assert_eq!(all_texts(&server, "bob").await, expected);
    server.kill();
    server.check_store(ROUNDS as u32 + 1);
}
