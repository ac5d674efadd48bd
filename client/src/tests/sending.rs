//! Sends, and commands without a number, over connections that break.

use super::server::recall;
use super::*;
use crate::{Change, Code, Message, Numbered, Quote};
use highwater_proto::wire;
use highwater_proto::wire::response::Outcome;

#[tokio::test]
async fn a_send_whose_receipt_was_lost_is_repeated_under_its_number() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 5).await;
    let mut sending = client.enqueue(Numbered::Send(Message::to_user("ada", "hello"))).await.unwrap();
    let (_, first) = peer.sent().await;
    assert_eq!((first.client_seq, first.to.as_str(), &first.body[..]), (6, "ada", &b"hello"[..]));
    peer.vanish();
    let mut peer = server.welcome(6).await;
    let (id, again) = peer.sent().await;
    assert_eq!(again, first);
    peer.receipt(id, 6, true).await;
    let receipt = sending.receipt().await.unwrap();
    assert_eq!((receipt.client_seq, receipt.seq, receipt.repeated), (6, 106, true));
    client.flush().await.unwrap();
}

#[tokio::test]
async fn a_send_that_never_arrived_gets_the_number_that_is_next_by_then() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 5).await;
    let mut sending = client.enqueue(Numbered::Send(Message::to_user("ada", "hello"))).await.unwrap();
    assert_eq!(peer.sent().await.1.client_seq, 6);
    peer.vanish();
    let mut peer = server.welcome(3).await;
    let (id, again) = peer.sent().await;
    assert_eq!(again.client_seq, 4);
    peer.receipt(id, 4, false).await;
    assert!(!sending.receipt().await.unwrap().repeated);
}

#[tokio::test]
async fn several_commands_at_once_keep_their_order_and_are_refused_one_by_one() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let nobody = Numbered::Send(Message::to_user("", "hello"));
    let mut queued = client.enqueue_all([recall(1), nobody, recall(2)]).await;
    let refusal = queued.remove(1).expect_err("a user has a name");
    assert_eq!(refusal.code, Code::InvalidArgument);
    for (number, sending) in (1..).zip(queued) {
        let (id, wire::request::Call::Recall(recall)) = peer.request().await else { panic!("no recall") };
        assert_eq!((recall.client_seq, recall.target), (number, number));
        peer.receipt(id, number, false).await;
        assert_eq!(sending.unwrap().receipt().await.unwrap().client_seq, number);
    }
}

#[tokio::test]
async fn sends_are_pipelined_within_the_window_and_a_refusal_moves_the_numbers_up() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut sendings = Vec::new();
    for target in 1..=5 {
        sendings.push(client.enqueue(recall(target)).await.unwrap());
    }
    let mut ids = Vec::new();
    for number in 1..=4 {
        let (id, wire::request::Call::Recall(recall)) = peer.request().await else { panic!("no recall") };
        assert_eq!((recall.client_seq, recall.target), (number, number));
        ids.push(id);
    }
    client.acknowledge("a frame that is always sent".into());
    let frame = peer.frame().await;
    assert!(matches!(frame, wire::client_frame::Body::Ack(_)), "four are under way, a fifth is too many: {frame:?}");
    peer.receipt(ids[0], 1, false).await;
    peer.refuse(ids[1], Error::new(Code::NotFound, "no such message")).await;
    peer.refuse(ids[2], Error::out_of_order(3, 2)).await;
    peer.refuse(ids[3], Error::out_of_order(4, 2)).await;
    // The first receipt may have made room for the fifth before the refusal came.
    let mut numbered = Vec::new();
    while numbered.len() < 3 {
        let (id, wire::request::Call::Recall(recall)) = peer.request().await else { panic!("no recall") };
        if recall.client_seq == 5 {
            peer.refuse(id, Error::out_of_order(5, 2)).await;
            continue;
        }
        numbered.push((recall.client_seq, recall.target));
        peer.receipt(id, recall.client_seq, false).await;
    }
    assert_eq!(numbered, [(2, 3), (3, 4), (4, 5)]);
    let mut outcomes = Vec::new();
    for sending in &mut sendings {
        outcomes.push(sending.receipt().await.map(|receipt| receipt.client_seq).map_err(|error| error.code));
    }
    assert_eq!(outcomes, [Ok(1), Err(Code::NotFound), Ok(2), Ok(3), Ok(4)]);
}

/// More than the loop takes up in one turn.
#[tokio::test]
async fn of_many_orders_at_once_none_is_lost() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut sends = tokio::task::JoinSet::new();
    for target in 1..=1_000 {
        let client = client.clone();
        sends.spawn(async move { client.enqueue(recall(target)).await?.receipt().await });
    }
    for number in 1..=1_000 {
        let (id, wire::request::Call::Recall(recall)) = peer.request().await else { panic!("no recall") };
        assert_eq!(recall.client_seq, number);
        peer.receipt(id, number, false).await;
    }
    while let Some(sent) = soon(sends.join_next()).await {
        sent.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_local_quote_is_a_seq_on_the_wire() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let first = client.enqueue(Numbered::Send(Message::to_conversation("room", "question"))).await.unwrap();
    let second = Message::to_conversation("room", "answer").quote(Quote::Local(first.local_id()));
    let mut second = client.enqueue(Numbered::Send(second)).await.unwrap();
    let (id, _) = peer.sent().await;
    peer.receipt(id, 1, false).await;
    let (id, answer) = peer.sent().await;
    assert_eq!(answer.quote, Some(101));
    peer.receipt(id, 2, false).await;
    second.receipt().await.unwrap();
}

#[tokio::test]
async fn what_would_be_refused_for_certain_is_refused_at_once() {
    let server = Server::start();
    let (client, _peer) = connected(&server, client(&server), 0).await;
    let refused = async |message: Message| client.send(message).await.unwrap_err();
    let error = refused(Message::to_user("ada", vec![0; 1_001])).await;
    assert_eq!(
        (error.code, error.limit.as_deref(), error.value),
        (Code::LimitExceeded, Some("body_bytes_max"), Some(1_000))
    );
    assert_eq!(refused(Message::to_user("", "x")).await.code, Code::InvalidArgument);
    assert_eq!(refused(Message::to_user("a\nb", "x")).await.code, Code::InvalidArgument);
    let error = refused(Message::to_user("ada", "x").mention((0..65).map(|user| user.to_string()))).await;
    assert_eq!((error.limit.as_deref(), error.value), (Some("mentions_max"), Some(64)));
}

#[tokio::test]
async fn a_read_session_sends_nothing() {
    let server = Server::start();
    let (client, peer) = connected(&server, client(&server).session(SessionKind::Read), 0).await;
    assert!(!peer.hello.send);
    assert_eq!(client.send(Message::to_user("ada", "x")).await.unwrap_err().code, Code::NotAllowed);
}

#[tokio::test]
async fn a_server_without_space_is_named_and_asked_again() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut sending = client.enqueue(recall(1)).await.unwrap();
    let (id, _) = peer.request().await;
    let full = Error::new(Code::ReadOnly, "no space");
    peer.refuse(id, full.clone()).await;
    assert_eq!(client.held_up().await, full);
    let (id, _) = peer.request().await;
    peer.receipt(id, 1, false).await;
    sending.receipt().await.unwrap();
}

#[tokio::test]
async fn a_takeover_leaves_what_was_under_way_with_an_unknown_outcome() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let mut sending = client.enqueue(recall(1)).await.unwrap();
    peer.request().await;
    peer.goodbye(Error::new(Code::Replaced, "taken over")).await;
    let error = sending.receipt().await.unwrap_err();
    assert_eq!(error.code, Code::OutcomeUnknown);
    assert_eq!(client.flush().await.unwrap_err().code, Code::Replaced);
}

#[tokio::test]
async fn a_command_without_a_number_says_what_is_known_of_it() {
    let server = Server::start();
    let (client, mut peer) = connected(&server, client(&server), 0).await;
    let (change, ()) = tokio::join!(client.join("news"), async {
        let (id, call) = peer.request().await;
        assert_eq!(call, wire::request::Call::Join(wire::Target { conversation: "news".to_owned() }));
        peer.answer(id, Outcome::Unchanged(wire::Target { conversation: "news".to_owned() })).await;
    });
    assert_eq!(change.unwrap(), Change::Unchanged { conversation: "news".to_owned() });
    let (refused, ()) = tokio::join!(client.join("news"), async {
        let (id, _) = peer.request().await;
        peer.refuse(id, Error::new(Code::NotFound, "no such conversation")).await;
    });
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
    let (broken, ()) = tokio::join!(client.join("news"), async {
        peer.request().await;
        peer.vanish();
    });
    assert_eq!(broken.unwrap_err().code, Code::OutcomeUnknown);
}

#[tokio::test]
async fn a_command_that_found_no_connection_in_time_was_never_sent() {
    let quiet = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = Client::builder(quiet.local_addr().unwrap().to_string())
        .trust(Trust::Pinned(vec![CertificateHash([1; 32])]))
        .token("token")
        .command_timeout(Duration::from_millis(20))
        .start()
        .unwrap();
    assert_eq!(client.join("news").await.unwrap_err().code, Code::Unreachable);
    assert_eq!(client.devices().await.unwrap_err().code, Code::Unreachable);
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_session() {
    let server = Server::start();
    let (_client, mut peer) = connected(&server, client(&server), 0).await;
    peer.receipt(77, 1, false).await;
    peer.connection.closed().await;
    server.welcome(0).await;
}

#[cfg(feature = "sqlite")]
mod durable {
    use super::*;
    use crate::StateDir;

    #[tokio::test]
    async fn what_was_queued_without_a_server_is_sent_by_a_later_client() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path(), "grace", "phone").unwrap();
        let server = Server::start();
        let offline = client(&server).outgoing(state.outgoing("server").unwrap());
        // Nobody answers the hello.
        let offline = offline.connect_timeout(Duration::from_secs(60)).start().unwrap();
        let message = Numbered::Send(Message::to_user("ada", "kept"));
        let mut sending = offline.enqueue(message.clone()).await.unwrap();
        let withdrawn = offline.enqueue(recall(1)).await.unwrap();
        assert!(offline.withdraw(withdrawn.local_id()).await.unwrap());
        offline.close().await;
        assert_eq!(sending.receipt().await.unwrap_err().code, Code::Unreachable);
        drop(offline);

        let builder = client(&server).outgoing(state.outgoing("server").unwrap());
        let (client, mut peer) = connected_again(&server, builder).await;
        let (kept, mut sending) = client.unsent().await.unwrap().remove(0);
        assert_eq!(kept, message);
        let (id, send) = peer.sent().await;
        assert_eq!(send.client_seq, 1);
        peer.receipt(id, 1, false).await;
        sending.receipt().await.unwrap();
        client.close().await;
        drop(client);
        let (left, _) = crate::OutgoingStore::load(&mut state.outgoing("server").unwrap()).unwrap();
        assert_eq!(left, [], "what is acknowledged is not kept");
    }

    /// The first connection in the server's queue may be the one that was given up.
    async fn connected_again(server: &Server, builder: ClientBuilder) -> (Client, Peer) {
        tokio::join!(async { builder.connect().await.unwrap() }, async {
            loop {
                if let Some(mut peer) = server.try_accept().await {
                    peer.welcome(0).await;
                    return peer;
                }
            }
        })
    }

    #[tokio::test]
    async fn a_number_is_kept_over_a_restart_before_it_is_transmitted() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path(), "grace", "phone").unwrap();
        let server = Server::start();
        let builder = client(&server).outgoing(state.outgoing("server").unwrap());
        let (first, mut peer) = connected(&server, builder, 8).await;
        let mut sending = first.enqueue(recall(1)).await.unwrap();
        peer.request().await;
        first.close().await;
        assert_eq!(sending.receipt().await.unwrap_err().code, Code::OutcomeUnknown);
        drop(first);

        let builder = client(&server).outgoing(state.outgoing("server").unwrap());
        let (_client, mut peer) = connected(&server, builder, 9).await;
        let (_, wire::request::Call::Recall(again)) = peer.request().await else { panic!("no recall") };
        assert_eq!(again.client_seq, 9, "9 may have been accepted: it is repeated, not numbered anew");
    }
}

#[tokio::test]
async fn commands_without_a_connection_are_bounded() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let builder = Client::builder(socket.local_addr().unwrap().to_string())
        .trust(Trust::Pinned(vec![CertificateHash::of_der(b"nobody")]))
        .token("token");
    let client = builder.start().unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1_025 {
        let client = client.clone();
        calls.spawn(async move { client.mute("c").await });
    }
    let refused = soon(calls.join_next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((refused.code, refused.limit.as_deref()), (Code::Busy, Some("calls_max")), "{refused}");
    client.close().await;
    while let Some(ended) = soon(calls.join_next()).await {
        assert_eq!(ended.unwrap().unwrap_err().code, Code::Unreachable);
    }
}
