//! What goes over the command stream, the delta stream and the queries of an open session.

use super::*;

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
async fn a_subscription_and_its_first_delta_come_in_one_packet() {
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    let mut deltas = Deltas::open(&mut ann, Subscribe::default()).await;
    assert!(matches!(deltas.frames.peek(), Ok(Some(_))), "only the name has come");
    assert!(deltas.next::<Delta>().await.is_some_and(|delta| delta.caught_up));
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
async fn deltas_and_pages_fit_their_frames() {
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    // Names alone are more than a frame: 20 groups, each told with 999 names of 64 bytes.
    let members: Vec<String> = (0..999).map(|number| format!("{number:064}")).collect();
    for number in 0..20 {
        let new =
            Create { kind: 2, conversation: format!("g{number}"), members: members.clone(), ..Default::default() };
        assert!(matches!(ann.call(Call::Create(new)).await, Outcome::Changed(_)));
    }
    let (mut deltas, mut count, mut pages) = (Deltas::open(&mut ann, Subscribe::default()).await, 0, 0);
    while let Some(delta) = deltas.next::<Delta>().await {
        count += delta.records.len();
        pages += 1;
    }
    assert_eq!(count, 20);
    assert!(pages >= 2);

    // Bodies that are more than an answer may hold.
    ann.call(group(&[])).await;
    let body = Bytes::from(vec![7; 60_000]);
    for client_seq in 1..=20 {
        let send = Send { client_seq, conversation: "c".to_owned(), body: body.clone(), ..Default::default() };
        assert!(matches!(ann.call(Call::Send(send)).await, Outcome::Receipt(_)));
    }
    let (mut before, mut seqs, mut pages) = (None, Vec::new(), 0);
    loop {
        let query = HistoryQuery { conversation: "c".to_owned(), before, ..Default::default() };
        let page = ann.ask(query::Call::History(query)).await;
        assert!(page.failure.is_none());
        let Some(first) = page.records.first() else { break };
        before = Some(first.seq);
        seqs.splice(0..0, page.records.iter().map(|record| record.seq));
        pages += 1;
    }
    assert_eq!(seqs, (1..=21).collect::<Vec<_>>());
    assert!(pages >= 3);
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
