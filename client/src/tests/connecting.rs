//! Coming to a session, losing it, keeping it.

use super::*;
use crate::{Code, Message, Sockets, StateWatch};
use highwater_proto::wire::client_frame;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

#[tokio::test]
async fn a_session_says_what_the_server_told() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server), 41).await;
    assert_eq!((peer.hello.token.as_str(), peer.hello.device.as_str(), peer.hello.send), ("token", "phone", true));
    let session = client.session().unwrap();
    assert_eq!((session.last_client_seq, session.body_bytes_max), (41, 1_000));
    assert_eq!(session.user.as_deref(), Some("grace"));
    client.close().await;
    assert_eq!(closed(&client).await, None);
    assert_eq!(client.send(Message::to_user("ada", "late")).await.unwrap_err().code, Code::Unreachable);
}

#[tokio::test]
async fn a_refused_hello_is_the_error_of_connect() {
    for code in [Code::Unauthenticated, Code::TokenExpired, Code::NotAllowed, Code::LimitExceeded, Code::Busy] {
        let server = Server::start();
        let (client, ()) = tokio::join!(client(&server).connect(), async {
            server.accept().await.goodbye(Error::new(code, "no")).await;
        });
        assert_eq!(client.unwrap_err(), Error::new(code, "no"));
    }
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_believed() {
    let server = Server::start();
    let other = Trust::Pinned(vec![CertificateHash([1; 32])]);
    let (client, ()) = tokio::join!(client(&server).trust(other).connect(), async {
        let refused = server.refused_handshake().await;
        assert!(refused, "the handshake fails on both sides");
    });
    assert_eq!(client.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable_after_the_timeout() {
    let quiet = UdpSocket::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let error = Client::builder(quiet.local_addr().unwrap().to_string())
        .trust(Trust::Pinned(vec![CertificateHash([1; 32])]))
        .token("token")
        .connect_timeout(Duration::from_millis(50))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unreachable);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn an_absurd_address_is_named() {
    let error = Client::builder("no port").trust(Trust::Pinned(vec![CertificateHash([1; 32])])).token("token");
    assert_eq!(error.connect().await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(Client::builder("localhost:1").start().unwrap_err().code, Code::InvalidArgument, "nobody to trust");
}

#[tokio::test]
async fn a_takeover_closes_the_client_for_good() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server), 0).await;
    peer.goodbye(Error::new(Code::Replaced, "a newer session took over")).await;
    assert_eq!(closed(&client).await.map(|error| error.code), Some(Code::Replaced));
    assert_eq!(client.mark_read("room", 1).await.unwrap_err().code, Code::Replaced);
}

#[tokio::test]
async fn a_connection_closed_without_a_last_frame_still_says_why() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server), 0).await;
    let number = Code::ALL.iter().position(|code| *code == Code::Replaced).unwrap() as u32 + 1;
    peer.connection.close(quinn::VarInt::from_u32(number), b"taken over");
    assert_eq!(closed(&client).await, Some(Error::new(Code::Replaced, "taken over")));
}

#[tokio::test]
async fn a_broken_session_is_followed_by_the_next_one() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server), 0).await;
    let mut states = client.state();
    states.current();
    peer.goodbye(Error::new(Code::Busy, "draining")).await;
    let _peer = server.welcome(3).await;
    wait_for_last(&mut states, 3).await;
}

async fn wait_for_last(states: &mut StateWatch, last: u64) {
    let there = |state| matches!(state, ConnectionState::Connected(session) if session.last_client_seq == last);
    let waiting = async {
        while !there(states.current()) {
            states.changed().await.expect("the client lives");
        }
    };
    soon(waiting).await;
}

#[tokio::test]
async fn a_token_is_renewed_in_band_before_its_time_is_over() {
    let server = Server::start();
    let asked = AtomicU32::new(0);
    let builder = client(&server).token_provider(move || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("token {number}")) }
    });
    let (client, mut peer) = tokio::join!(builder.connect(), async {
        let mut peer = server.accept().await;
        peer.welcome_with(0, 200).await;
        peer
    });
    let _client = client.unwrap();
    assert_eq!(peer.hello.token, "token 0");
    for number in 1..3 {
        let client_frame::Body::Token(token) = peer.frame().await else { panic!("no token") };
        assert_eq!(token.token, format!("token {number}"));
    }
}

#[tokio::test]
async fn an_expired_fixed_token_ends_the_client_and_a_provider_gives_the_next_one() {
    let expired = || Error::new(Code::TokenExpired, "over");
    let server = Server::start();
    let (fixed, peer) = connected(&server, client(&server), 0).await;
    peer.goodbye(expired()).await;
    assert_eq!(closed(&fixed).await, Some(expired()));

    let builder = client(&server).token_provider(|| async { Ok("fresh".to_owned()) });
    let (client, peer) = connected(&server, builder, 0).await;
    peer.goodbye(expired()).await;
    let peer = server.welcome(9).await;
    assert_eq!(peer.hello.token, "fresh");
    wait_for_last(&mut client.state(), 9).await;
}

#[tokio::test]
async fn a_client_that_moves_to_another_socket_keeps_its_session() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let before = peer.connection.remote_address();
    client.rebind(Some(UdpSocket::bind("127.0.0.1:0").unwrap())).unwrap();
    let (receipt, ()) = tokio::join!(client.send(Message::to_user("ada", "moved")), async {
        let (id, send) = peer.sent().await;
        peer.receipt(id, send.client_seq, false).await;
    });
    assert_eq!(receipt.unwrap().client_seq, 1);
    assert_ne!(peer.connection.remote_address(), before);
}

#[tokio::test]
async fn clients_that_share_sockets_have_sessions_of_their_own() {
    let server = Server::start();
    let sockets = Sockets::default();
    let (first, one) = connected(&server, client(&server).sockets(&sockets), 1).await;
    let (second, mut two) = connected(&server, client(&server).sockets(&sockets).device("tablet"), 2).await;
    assert_eq!(one.connection.remote_address(), two.connection.remote_address());
    first.close().await;
    soon(one.connection.closed()).await;
    let (receipt, ()) = tokio::join!(second.send(Message::to_user("ada", "still here")), async {
        let (id, send) = two.sent().await;
        two.receipt(id, send.client_seq, false).await;
    });
    assert_eq!(receipt.unwrap().client_seq, 3);
}
