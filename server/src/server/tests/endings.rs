//! How sessions end: taken over, expired, drained, killed.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_takes_the_device_over() {
    let running = start(|_| {}).await;
    let mut first = session(&running, "ann", "phone").await;
    first.call(group(&[])).await;
    assert!(matches!(first.call(message(1, "one")).await, Outcome::Receipt(_)));
    let mut second = Client::new(&running).await;
    let token = token(running.data.path(), "ann", None, 60_000);
    let hello = Hello { token, send: true, device: "phone".to_owned(), ..Default::default() };
    assert_eq!(second.hello(hello).await.last_client_seq, 1);
    assert_eq!(first.goodbye().await.code, Code::Replaced);
    assert!(matches!(second.call(message(2, "two")).await, Outcome::Receipt(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_unless_it_is_renewed() {
    let running = start(|_| {}).await;
    let data = running.data.path();
    // The leeway is nearly used up.
    let ends_soon = |left_ms: i64| token(data, "ann", None, left_ms - TOKEN_LEEWAY_MS as i64);
    let mut client = Client::new(&running).await;
    let welcome = client.hello(Hello { token: ends_soon(300), ..Default::default() }).await;
    assert!(welcome.token_valid_ms <= 300);
    assert_eq!(client.goodbye().await.code, Code::TokenExpired);

    let mut renewed = Client::new(&running).await;
    renewed.hello(Hello { token: ends_soon(300), ..Default::default() }).await;
    renewed.say(Say::Token(Token { token: token(data, "ann", None, 60_000) })).await;
    let mut other = Client::new(&running).await;
    other.hello(Hello { token: ends_soon(600), ..Default::default() }).await;
    assert_eq!(other.goodbye().await.code, Code::TokenExpired, "by now the renewed one would be over, too");
    assert!(matches!(renewed.call(group(&[])).await, Outcome::Changed(_)));
    renewed.say(Say::Token(Token { token: token(data, "bob", None, 60_000) })).await;
    assert_eq!(renewed.goodbye().await.code, Code::Unauthenticated);
}

/// A client that goes on sending is answered until the end: either a receipt, or that nothing was done.
#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_was_accepted() {
    const REQUESTS: u64 = 20_000;
    let running = start(|_| {}).await;
    let mut ann = session(&running, "ann", "phone").await;
    ann.call(group(&[])).await;
    let (unused, _) = ann.connection.open_bi().await.expect("a stream");
    let mut send = std::mem::replace(&mut ann.send, unused);
    tokio::spawn(async move {
        let mut frames = Vec::new();
        for client_seq in 1..=REQUESTS {
            let body = Some(Say::Request(Request { id: client_seq, call: Some(message(client_seq, "hello")) }));
            encode_frame(&ClientFrame { body }, &mut frames).expect("it fits");
        }
        // The server closes the connection before it has taken all of them.
        let _ = send.write_all(&frames).await;
        std::future::pending::<()>().await;
    });
    let Running { server, data } = running;
    let mut server = Some(server);
    let mut shutdown = None;
    let (mut accepted, mut refused) = (0, 0);
    let goodbye = loop {
        match ann.hear().await {
            Said::Response(Response { outcome: Some(Outcome::Receipt(_)), .. }) => accepted += 1,
            Said::Response(Response { outcome: Some(Outcome::Failure(failure)), .. }) => {
                assert!(Error::from(failure).is_retryable());
                refused += 1;
            }
            Said::Goodbye(failure) => break Error::from(failure),
            other => panic!("{other:?}"),
        }
        if accepted == 500 {
            // Commands are under way now, at every moment.
            shutdown = shutdown.or_else(|| server.take().map(|server| tokio::spawn(server.shutdown())));
        }
    };
    assert_eq!(goodbye.code, Code::Busy);
    assert!(accepted + refused < REQUESTS, "it does not wait for a client that never stops");
    soon("the end", shutdown.expect("it was started")).await.expect("no panic").expect("it drains");

    let server = start_in(data.path(), |_| {}).await;
    let running = Running { server, data };
    let mut ann = Client::new(&running).await;
    let token = token(running.data.path(), "ann", None, 60_000);
    let hello = Hello { token, send: true, device: "phone".to_owned(), ..Default::default() };
    assert_eq!(ann.hello(hello).await.last_client_seq, accepted, "what was acknowledged is there, and nothing else");
}

/// What a client sees of `kill -9`: the server's runtime ends without a word, and another one takes over its port and
/// its directory.
#[test]
fn clients_of_a_killed_server_notice_at_once() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let killed = runtime().expect("threads");
    // An address of its own: no other test may take the port while it is free.
    let running = killed.block_on(start(|config| config.listen = ([127, 0, 0, 2], 0).into()));
    let here = runtime().expect("threads");
    let mut client = here.block_on(async {
        let mut client = session(&running, "ann", "phone").await;
        client.call(group(&[])).await;
        client
    });
    let Running { server, data } = running;
    let address = server.local_address();
    killed.spawn(async move {
        let _server = server;
        std::future::pending::<()>().await;
    });
    killed.shutdown_timeout(PATIENCE);

    here.block_on(async {
        let server = start_in(data.path(), |config| config.listen = address).await;
        let started = std::time::Instant::now();
        // Any packet will do; one that was sent before may have brought the reset already.
        let _ = client.send.write_all(b"is anybody there?").await;
        let closed = soon("the end", client.connection.closed()).await;
        assert!(matches!(closed, quinn::ConnectionError::Reset), "{closed:?}");
        let noticed = started.elapsed();
        // Far below the idle timeout of 30 s, which is what clients waited for without stable keys.
        assert!(noticed < Duration::from_secs(2), "noticed after {noticed:?}");
        println!("noticed after {noticed:?}");
        server.shutdown().await.expect("it drains");
    });
}
