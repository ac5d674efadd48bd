//! The library against a scripted server: what it puts on the wire, and what it makes of what comes back.

#![allow(clippy::unwrap_used)]

mod connecting;
mod reading;
mod sending;
mod server;

use crate::{Backoff, CertificateHash, Client, ClientBuilder, ConnectionState, Error, SessionKind, Trust};
pub(crate) use server::{Peer, Server, soon};
use std::time::Duration;

/// A client of this server that does not wait long for anything.
fn client(server: &Server) -> ClientBuilder {
    Client::builder(server.address.to_string())
        .trust(Trust::Pinned(vec![CertificateHash::of_der(&server.certificate)]))
        .token("token")
        .device("phone")
        .session(SessionKind::Send)
        .backoff(Backoff { base: Duration::from_millis(1), max: Duration::from_millis(1) })
}

/// A client and the server's side of its session, in which `last` was told.
async fn connected(server: &Server, builder: ClientBuilder, last: u64) -> (Client, Peer) {
    let (client, peer) = tokio::join!(builder.connect(), async {
        let mut peer = server.accept().await;
        peer.welcome(last).await;
        peer
    });
    (client.unwrap(), peer)
}

/// Waits for the end, and gives its reason.
async fn closed(client: &Client) -> Option<Error> {
    let mut states = client.state();
    let end = async {
        loop {
            if let ConnectionState::Closed { reason } = states.current() {
                return reason;
            }
            states.changed().await.expect("the end is a state");
        }
    };
    soon(end).await
}
