//! What is refused: tokens, first frames, garbage, too many connections.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn refused_beginnings_say_why() {
    let running = start(|_| {}).await;
    let data = running.data.path();
    let good = token(data, "ann", None, 60_000);
    let cases = [
        ("no token", Hello::default(), Code::Unauthenticated),
        ("nonsense", Hello { token: "x.y.z".to_owned(), ..Default::default() }, Code::Unauthenticated),
        ("expired", Hello { token: token(data, "ann", None, -10_000), ..Default::default() }, Code::TokenExpired),
        ("no device", Hello { token: good.clone(), send: true, ..Default::default() }, Code::InvalidArgument),
        (
            "as another",
            Hello { token: good.clone(), as_user: "bob".to_owned(), ..Default::default() },
            Code::NotAllowed,
        ),
        (
            "service as nobody",
            Hello {
                token: token(data, "ops", Some("service"), 60_000),
                send: true,
                device: "d".to_owned(),
                ..Default::default()
            },
            Code::InvalidArgument,
        ),
    ];
    for (what, hello, code) in cases {
        let mut client = Client::new(&running).await;
        client.say(Say::Hello(hello)).await;
        assert_eq!(client.goodbye().await.code, code, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection_and_nothing_else() {
    let running = start(|_| {}).await;
    let too_long = u32::try_from(HELLO_BYTES_MAX + 1).expect("small").to_le_bytes();
    let beginnings: [(&str, &[u8]); 4] = [
        ("a frame that is too long", &too_long),
        ("no message", &[3, 0, 0, 0, 0xff, 0xff, 0xff]),
        ("an empty frame", &[0, 0, 0, 0]),
        ("random bytes", &[0x97; 100]),
    ];
    for (what, bytes) in beginnings {
        let mut client = Client::new(&running).await;
        client.write(bytes).await;
        assert_eq!(client.goodbye().await.code, Code::Protocol, "{what}");
    }
    let mut client = Client::new(&running).await;
    client.request(message(1, "before hello")).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);

    let later: [(&str, &[u8]); 3] = [
        ("a frame that is too long", &[0xff; 4]),
        ("no message", &[3, 0, 0, 0, 0xff, 0xff, 0xff]),
        ("an empty frame", &[0, 0, 0, 0]),
    ];
    for (what, bytes) in later {
        let mut client = session(&running, "ann", "phone").await;
        client.write(bytes).await;
        assert_eq!(client.goodbye().await.code, Code::Protocol, "{what}");
    }
    let mut client = session(&running, "ann", "phone").await;
    client.say(Say::Hello(Hello::default())).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);
    let mut client = session(&running, "ann", "phone").await;
    client.say(Say::Ack(Ack { checkpoint: b"x".as_slice().into() })).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);
    let client = session(&running, "ann", "phone").await;
    let (mut send, _receive) = client.connection.open_bi().await.expect("a stream");
    send.write_all(&[0xff; 8]).await.expect("the server takes it");
    assert_eq!(client.goodbye().await.code, Code::Protocol);
    let mut client = session(&running, "ann", "phone").await;
    client.say(Say::Request(Request { id: 9, call: None })).await;
    match client.hear().await {
        Said::Response(Response { id: 9, outcome: Some(Outcome::Failure(failure)) }) => {
            assert_eq!(Error::from(failure).code, Code::InvalidArgument);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.call(group(&[])).await, Outcome::Changed(_)), "the session goes on");
    running.server.shutdown().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let running = start(|config| config.timeouts.hello = Duration::from_millis(100)).await;
    let connection = connect(&running).await;
    assert!(matches!(soon("the close", connection.closed()).await, quinn::ConnectionError::ApplicationClosed(_)));
    let mut client = Client::new(&running).await;
    client.write(&[5, 0, 0, 0]).await;
    assert_eq!(client.goodbye().await.code, Code::Protocol);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_hello_there_is_one_stream() {
    let running = start(|_| {}).await;
    let connection = connect(&running).await;
    let _first = connection.open_bi().await.expect("the command stream");
    assert!(timeout(Duration::from_millis(100), connection.open_bi()).await.is_err());
    assert!(timeout(Duration::from_millis(100), connection.open_uni()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_connections() {
    let running = start(|config| config.connections.connections_max = 1).await;
    let _first = session(&running, "ann", "").await;
    assert!(soon("an answer", try_connect(&running)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_opens_a_store() {
    let running = start(|_| {}).await;
    let again = Server::start(Config::dev(running.data.path(), ([127, 0, 0, 1], 0).into())).await;
    match again.err() {
        Some(StartError::Store(error)) => assert_eq!(error.code, Code::Unusable),
        other => panic!("{other:?}"),
    }
    let address = running.server.local_address();
    let taken = tempfile::tempdir().expect("a directory");
    let error = Server::start(Config::dev(taken.path(), address)).await.err().expect("the port is taken");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
