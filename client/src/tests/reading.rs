//! Subscriptions and queries over connections that break.

use super::server::write;
use super::*;
use crate::{Code, Content, Event, Gap, Page, ResetReason, Start, SubscribeOptions};
use bytes::Bytes;
use futures_core::Stream;
use highwater_proto::wire::{self, FrameReader, client_frame};
use std::future::poll_fn;
use std::pin::pin;

fn message(position: u64) -> wire::Record {
    let conversation = "room".to_owned();
    wire::Record {
        position,
        conversation,
        seq: position,
        kind: wire::kind::MESSAGE,
        from: "ada".to_owned(),
        ..Default::default()
    }
}

/// The messages in `(from, to]`, with the checkpoint that every test uses for `to`.
fn delta(from: u64, to: u64, caught_up: bool) -> wire::Delta {
    let records = (from + 1..=to).map(message).collect();
    wire::Delta { from, to, checkpoint: checkpoint(to), caught_up, records, ..Default::default() }
}

fn checkpoint(to: u64) -> Bytes {
    format!("at {to}").into()
}

fn positions(events: &[Event]) -> Vec<u64> {
    let position = |event: &Event| match event {
        Event::Record(record) => Some(record.position),
        _ => None,
    };
    events.iter().filter_map(position).collect()
}

#[tokio::test]
async fn what_is_not_committed_comes_again_and_what_is_does_not() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut subscription =
        client.subscribe(SubscribeOptions { per_conversation_max: 3, records_max: 5, ..Default::default() });
    let (batch, mut stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        let expected = wire::Subscribe { per_conversation_max: 3, records_max: 5, live: true, ..Default::default() };
        assert_eq!(asked, expected);
        write(&mut stream, &delta(0, 2, false)).await;
        stream
    });
    batch.unwrap().unwrap().commit().unwrap();
    write(&mut stream, &delta(2, 4, false)).await;
    let dropped = subscription.next_batch().await.unwrap().unwrap();
    assert_eq!(positions(dropped.events()), [3, 4]);
    drop(dropped);
    let (batch, _stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        assert_eq!(asked.checkpoint, checkpoint(2));
        write(&mut stream, &delta(2, 4, true)).await;
        stream
    });
    assert_eq!(positions(batch.unwrap().unwrap().events()), [3, 4]);
    peer.vanish();
    let (batch, _stream) = tokio::join!(soon(subscription.next_batch()), async {
        let mut peer = server.welcome(0).await;
        let (asked, mut stream) = peer.subscribed().await;
        assert_eq!(asked.checkpoint, checkpoint(2), "the second break");
        write(&mut stream, &delta(2, 5, true)).await;
        (stream, peer)
    });
    assert_eq!(positions(batch.unwrap().unwrap().events()), [3, 4, 5]);
}

#[tokio::test]
async fn events_one_by_one_are_committed_when_the_next_batch_is_asked_for() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut events = pin!(client.subscribe(SubscribeOptions::default()).into_stream());
    let mut next = async || poll_fn(|context| events.as_mut().poll_next(context)).await;
    let (first, mut stream) = tokio::join!(next(), async {
        let (_, mut stream) = peer.subscribed().await;
        let gap = wire::Gap { conversation: "room".to_owned(), from_seq: 1, to_seq: 9 };
        write(&mut stream, &wire::Delta { gaps: vec![gap], ..delta(9, 10, true) }).await;
        stream
    });
    let gap = Gap { conversation: "room".to_owned(), from_seq: 1, to_seq: 9 };
    assert_eq!(first.unwrap().unwrap(), Event::Gap(gap));
    let Event::Record(record) = next().await.unwrap().unwrap() else { panic!("no record") };
    assert!(matches!(record.content, Content::Message(_)));
    let end = Event::Checkpoint { from: 9, to: 10, checkpoint: checkpoint(10), caught_up: true };
    assert_eq!(next().await.unwrap().unwrap(), end);
    write(&mut stream, &delta(10, 11, true)).await;
    next().await.unwrap().unwrap();
    let client_frame::Body::Ack(ack) = peer.frame().await else { panic!("no acknowledgement") };
    assert_eq!(ack.checkpoint, checkpoint(10), "a send session's device is acknowledged");
}

#[tokio::test]
async fn a_delta_that_does_not_follow_on_is_refused() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut subscription = client.subscribe(SubscribeOptions::default());
    let (batch, mut stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (_, mut stream) = peer.subscribed().await;
        write(&mut stream, &delta(3, 5, true)).await;
        stream
    });
    batch.unwrap().unwrap().commit().unwrap();
    for absurd in [delta(4, 6, true), delta(6, 7, true), wire::Delta { checkpoint: Bytes::new(), ..delta(5, 6, true) }]
    {
        write(&mut stream, &absurd).await;
        assert_eq!(subscription.next_batch().await.unwrap_err().code, Code::Protocol, "{absurd:?}");
        let (batch, again) = tokio::join!(soon(subscription.next_batch()), async {
            let (asked, mut stream) = peer.subscribed().await;
            assert_eq!(asked.checkpoint, checkpoint(5));
            write(&mut stream, &wire::Delta { caught_up: true, ..delta(5, 5, true) }).await;
            stream
        });
        batch.unwrap().unwrap().commit().unwrap();
        stream = again;
    }
}

#[tokio::test]
async fn a_snapshot_replaces_the_checkpoint_and_begins_again_if_it_breaks_off() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let options = SubscribeOptions { start: Start::Snapshot, ..Default::default() };
    let mut subscription = client.subscribe(options);
    let page = |checkpoint: Bytes| {
        let conversation = wire::Conversation { conversation: "room".to_owned(), kind: 2, ..Default::default() };
        let reset = Some(wire::Reset { reason: "requested".to_owned() });
        wire::Delta { to: 50, checkpoint, reset, conversations: vec![conversation], ..Default::default() }
    };
    let (batch, stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        assert!(asked.snapshot);
        write(&mut stream, &page(Bytes::new())).await;
        stream
    });
    let batch = batch.unwrap().unwrap();
    assert_eq!(batch.events()[0], Event::Reset { reason: ResetReason::Requested });
    assert_eq!(batch.events().len(), 2, "a page has no checkpoint");
    batch.commit().unwrap();
    drop(stream);
    peer.vanish();
    let mut peer = server.welcome(0).await;
    let (batch, stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        assert!(asked.snapshot && asked.checkpoint.is_empty());
        write(&mut stream, &page(Bytes::new())).await;
        write(&mut stream, &page(checkpoint(50))).await;
        write(&mut stream, &delta(50, 51, true)).await;
        stream
    });
    batch.unwrap().unwrap().commit().unwrap();
    let last = subscription.next_batch().await.unwrap().unwrap();
    assert!(matches!(last.events(), [Event::Conversation(_), Event::Checkpoint { to: 50, .. }]), "{last:?}");
    last.commit().unwrap();
    assert_eq!(positions(subscription.next_batch().await.unwrap().unwrap().events()), [51]);
    drop(stream);
    peer.vanish();
    let mut peer = server.welcome(0).await;
    let (batch, _stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        assert_eq!((asked.snapshot, asked.checkpoint), (false, checkpoint(50)), "a snapshot is taken once");
        write(&mut stream, &delta(50, 51, true)).await;
        stream
    });
    assert_eq!(positions(batch.unwrap().unwrap().events()), [51]);
}

#[tokio::test]
async fn a_subscription_that_is_not_live_ends_when_it_has_caught_up_and_not_before() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut subscription = client.subscribe(SubscribeOptions { live: false, ..Default::default() });
    let (batch, mut stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (_, mut stream) = peer.subscribed().await;
        write(&mut stream, &delta(0, 1, false)).await;
        stream
    });
    batch.unwrap().unwrap().commit().unwrap();
    stream.finish().unwrap();
    let (batch, _) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        assert_eq!(asked.checkpoint, checkpoint(1));
        write(&mut stream, &delta(1, 2, true)).await;
        stream.finish().unwrap();
        stream
    });
    batch.unwrap().unwrap().commit().unwrap();
    assert!(subscription.next_batch().await.unwrap().is_none());
    assert!(subscription.next_batch().await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_subscription_ends_the_one_before() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut first = client.subscribe(SubscribeOptions::default());
    let (batch, mut stream) = tokio::join!(first.next_batch(), async {
        let (_, mut stream) = peer.subscribed().await;
        write(&mut stream, &delta(0, 1, true)).await;
        stream
    });
    batch.unwrap().unwrap().commit().unwrap();
    let mut second = client.subscribe(SubscribeOptions::default());
    let (batch, _second_stream) = tokio::join!(second.next_batch(), async {
        let (_, mut newer) = peer.subscribed().await;
        stream.reset(quinn::VarInt::from_u32(1)).unwrap();
        write(&mut newer, &delta(0, 1, true)).await;
        newer
    });
    batch.unwrap().unwrap().commit().unwrap();
    assert!(first.next_batch().await.unwrap().is_none());
}

#[tokio::test]
async fn a_refused_subscription_ends_with_the_reason() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut subscription = client.subscribe(SubscribeOptions::default());
    let (refused, ()) = tokio::join!(soon(subscription.next_batch()), async {
        let (id, _) = peer.request().await;
        peer.refuse(id, Error::new(Code::InvalidArgument, "checkpoint is malformed")).await;
    });
    assert_eq!(refused.unwrap_err().code, Code::InvalidArgument);
    assert!(subscription.next_batch().await.unwrap().is_none());
}

#[tokio::test]
async fn a_query_goes_on_a_stream_of_its_own_and_is_asked_again_after_a_break() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server), 0).await;
    let (records, ()) = tokio::join!(client.history("room", Page::Before(8), 2), async {
        let (_send, mut recv) = peer.connection.accept_bi().await.unwrap();
        let asked = recv.read_to_end(1_000).await.unwrap();
        let mut frames = FrameReader::new();
        frames.push(&asked);
        let query: wire::Query = frames.next().unwrap().unwrap();
        let history = wire::HistoryQuery { conversation: "room".to_owned(), before: Some(8), after: None, limit: 2 };
        assert_eq!(query.call, Some(wire::query::Call::History(history)));
        peer.vanish();
        let peer = server.welcome(0).await;
        let (mut send, _recv) = peer.connection.accept_bi().await.unwrap();
        let answer = wire::Answer { records: vec![message(6), message(7)], ..Default::default() };
        write(&mut send, &answer).await;
        send.finish().unwrap();
        send.stopped().await.unwrap();
    });
    assert_eq!(records.unwrap().iter().map(|record| record.seq).collect::<Vec<_>>(), [Some(6), Some(7)]);
}

#[tokio::test]
async fn a_refused_query_says_why() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server), 0).await;
    let (refused, _streams) = tokio::join!(client.members("secret", 0, None), async {
        let (mut send, recv) = peer.connection.accept_bi().await.unwrap();
        let failure = Error::new(Code::NotFound, "no such conversation");
        write(&mut send, &wire::Answer { failure: Some((&failure).into()), ..Default::default() }).await;
        send.finish().unwrap();
        (send, recv)
    });
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn an_application_that_commits_in_the_stores_transaction_sees_each_event_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.sqlite");
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut store = crate::SqliteCheckpoints::open(&path).unwrap();
    store.connection().execute_batch("CREATE TABLE seen (position INTEGER PRIMARY KEY)").unwrap();
    let mut subscription = client.subscribe_with(SubscribeOptions::default(), store);
    let keep = |tx: &rusqlite::Transaction<'_>, events: &[Event]| -> Result<(), Error> {
        for position in positions(events) {
            tx.execute("INSERT INTO seen VALUES (?1)", [position as i64]).unwrap();
        }
        Ok(())
    };
    let (batch, mut stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (_, mut stream) = peer.subscribed().await;
        write(&mut stream, &delta(0, 2, false)).await;
        stream
    });
    batch.unwrap().unwrap().commit_with(keep).unwrap();
    write(&mut stream, &delta(2, 3, true)).await;
    let failed = subscription.next_batch().await.unwrap().unwrap().commit_with(|tx, events| {
        keep(tx, events)?;
        Err::<(), _>(Error::new(Code::Io, "the application failed after it wrote"))
    });
    assert_eq!(failed.unwrap_err().code, Code::Io);
    // The process restarts.
    drop((subscription, client));
    let store = crate::SqliteCheckpoints::open(&path).unwrap();
    let (client, mut peer) = connected(&server, super::client(&server), 0).await;
    let mut subscription = client.subscribe_with(SubscribeOptions::default(), store);
    let (batch, _stream) = tokio::join!(soon(subscription.next_batch()), async {
        let (asked, mut stream) = peer.subscribed().await;
        assert_eq!(asked.checkpoint, checkpoint(2));
        write(&mut stream, &delta(2, 3, true)).await;
        stream
    });
    // A doubled event would break the table's primary key.
    batch.unwrap().unwrap().commit_with(keep).unwrap();
    let count =
        subscription.store().connection().query_row("SELECT count(*) FROM seen", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 3);
}
