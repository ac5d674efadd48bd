//! Values that nobody sends by mistake, and more of everything than anybody needs: answered, and of no harm to others.

use super::*;
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::id::{Epoch, Incarnation, Position};

fn refused(outcome: Outcome) -> Code {
    match outcome {
        Outcome::Failure(failure) => Error::from(failure).code,
        other => panic!("{other:?} in place of a refusal"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_values_are_refused_and_the_session_goes_on() {
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    ann.call(group(&["bob"])).await;
    let c = || "c".to_owned();
    let cases = [
        (message(0, "x"), Code::InvalidArgument),
        (message(u64::MAX, "x"), Code::OutOfOrder),
        (Call::Send(Send { client_seq: 1, ..Default::default() }), Code::InvalidArgument),
        (Call::Send(Send { client_seq: 1, to: c(), conversation: c(), ..Default::default() }), Code::InvalidArgument),
        (Call::Send(Send { client_seq: 1, to: "x".repeat(900_000), ..Default::default() }), Code::LimitExceeded),
        (
            Call::Send(Send { client_seq: 1, conversation: c(), quote: Some(u64::MAX), ..Default::default() }),
            Code::NotFound,
        ),
        (Call::Edit(Edit { client_seq: 1, conversation: c(), target: u64::MAX, ..Default::default() }), Code::NotFound),
        (Call::Recall(Recall { client_seq: 1, conversation: c(), target: u64::MAX }), Code::NotFound),
        (Call::Read(MarkRead { conversation: c(), through: u64::MAX }), Code::InvalidArgument),
        (Call::Create(Create { kind: 0, conversation: "d".to_owned(), ..Default::default() }), Code::InvalidArgument),
        (Call::Create(Create { kind: 99, conversation: "d".to_owned(), ..Default::default() }), Code::InvalidArgument),
        (Call::Role(SetRole { conversation: c(), user: "bob".to_owned(), role: u32::MAX }), Code::InvalidArgument),
        (Call::Settings(SetSettings { conversation: c(), fanout: Some(3), ..Default::default() }), Code::NotAllowed),
        (Call::CreateUser(CreateUser { user: "eve".to_owned() }), Code::NotAllowed),
        (
            Call::Subscribe(Subscribe { checkpoint: Bytes::from_static(b"nonsense"), ..Default::default() }),
            Code::InvalidArgument,
        ),
    ];
    for (call, code) in cases {
        let what = format!("{call:.100?}");
        assert_eq!(refused(ann.call(call).await), code, "{what}");
    }
    ann.say(Say::Request(Request { id: 7, call: None })).await;
    assert!(matches!(ann.hear().await, Said::Response(Response { id: 7, outcome: Some(Outcome::Failure(_)) })));

    let history = |before, after| {
        query::Call::History(HistoryQuery { conversation: "c".to_owned(), before, after, limit: u32::MAX })
    };
    assert!(ann.ask(history(Some(0), None)).await.records.is_empty());
    assert!(ann.ask(history(None, Some(u64::MAX))).await.records.is_empty());
    assert_eq!(ann.ask(history(Some(u64::MAX), None)).await.records.len(), 1);
    assert!(ann.ask(history(Some(1), Some(1))).await.failure.is_some());
    let cursor = Bytes::from_static(&[0xff; 9]);
    let listed = ann.ask(query::Call::Conversations(ConversationsQuery { cursor, limit: 1 })).await;
    assert!(listed.failure.is_some());

    // A checkpoint that this store never gave is answered with a reset, and an acknowledgement of it counts for nothing.
    let incarnation = running.server.engine().incarnation();
    for (incarnation, epoch) in
        [(incarnation, Epoch(1)), (incarnation, Epoch(u32::MAX)), (Incarnation([7; 16]), Epoch(1))]
    {
        let forged = Bytes::from(Checkpoint { incarnation, epoch, position: Position(u64::MAX) }.encode());
        ann.say(Say::Ack(Ack { checkpoint: forged.clone() })).await;
        let subscribe = Subscribe {
            checkpoint: forged,
            records_max: u32::MAX,
            per_conversation_max: u32::MAX,
            ..Default::default()
        };
        let delta: Delta = Deltas::open(&mut ann, subscribe).await.next().await.expect("a snapshot");
        assert!(delta.reset.is_some() && delta.to < 100);
    }
    let devices = ann.ask(query::Call::Devices(DevicesQuery {})).await.devices;
    assert_eq!(devices.first().map(|device| device.position), Some(0));
    assert!(matches!(ann.call(message(1, "still here")).await, Outcome::Receipt(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_many_subscriptions_is_the_one_that_counts() {
    const STORM: u64 = 300;
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    ann.call(group(&[])).await;
    for _ in 0..STORM {
        ann.request(Call::Subscribe(Subscribe { live: true, ..Default::default() })).await;
    }
    for count in 1..=STORM {
        match ann.hear().await {
            Said::Response(Response { outcome: Some(Outcome::Subscribed(subscribed)), .. }) => {
                assert_eq!(subscribed.subscription, count);
            }
            other => panic!("{other:?}"),
        }
    }
    // Of the others something may come, or nothing: they are reset.
    let mut deltas = soon("the last stream", async {
        loop {
            let mut receive = ann.connection.accept_uni().await.expect("streams come");
            let mut frames = FrameReader::new();
            while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
                frames.push(&chunk.bytes);
                match frames.next::<Subscribed>() {
                    Ok(Some(subscribed)) if subscribed.subscription == STORM => return Deltas { receive, frames },
                    Ok(None) => {}
                    _ => break,
                }
            }
        }
    })
    .await;
    let first: Delta = deltas.next().await.expect("what was missed");
    assert!(first.caught_up && first.records.len() == 1);
    ann.call(message(1, "live")).await;
    let next: Delta = deltas.next().await.expect("what is new");
    assert_eq!(next.records.len(), 1);
}

/// Answers that nobody reads come to an end, and with them what is taken off the stream: memory is bounded by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_comes_to_a_halt() {
    let running = start(|_| {}).await;
    let connection = connect(&running).await;
    let (send, receive) = soon("a stream", connection.open_bi()).await.expect("one is allowed");
    let mut ann = Client { connection, send, receive, frames: FrameReader::new(), requests: 0 };
    let token = token(running.data.path(), "ann", None, 60_000);
    ann.hello(Hello { token, ..Default::default() }).await;
    // Refusals are the cheapest answers to make. 60 MB of questions are far more than all windows together.
    let mut frames = Vec::new();
    for id in 0..1_000_u64 {
        let call = Some(Call::Join(Target { conversation: "x".repeat(60) }));
        let request = Request { id, call };
        encode_frame(&ClientFrame { body: Some(Say::Request(request)) }, &mut frames).expect("it fits");
    }
    let mut written = 0;
    while timeout(Duration::from_secs(2), ann.send.write_all(&frames)).await.is_ok_and(|done| done.is_ok()) {
        written += frames.len();
        assert!(written < 60_000_000, "the server takes questions whose answers nobody reads");
    }
}
