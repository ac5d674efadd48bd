//! The UDP sockets under a client's connections: one for each kind of address, opened when first needed.

use crate::state::closed;
use highwater_proto::error::{Code, Error};
use parking_lot::Mutex;
use quinn::Endpoint;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// UDP sockets that several clients may use together. Cheap to clone; clones are the same sockets.
///
/// A client has its own unless it is given some ([`ClientBuilder::sockets`](crate::ClientBuilder::sockets)). A socket's
/// buffers take about 3 MiB, which counts where one process holds hundreds of clients. Clients that share sockets have
/// to run on the same Tokio runtime.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    pair: Arc<Mutex<Pair>>,
}

#[derive(Debug, Default)]
struct Pair {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Sockets {
    /// Moves the connections of the socket's kind of address, or all of them, to another socket.
    pub(crate) fn rebind(&self, socket: Option<UdpSocket>) -> Result<(), Error> {
        let io = |error: std::io::Error| Error::new(Code::Io, format!("the socket cannot be used: {error}"));
        let pair = self.pair.lock();
        if let Some(socket) = socket {
            let v4 = socket.local_addr().map_err(io)?.is_ipv4();
            let endpoint = if v4 { &pair.v4 } else { &pair.v6 };
            return endpoint.as_ref().ok_or_else(closed)?.rebind(socket).map_err(io);
        }
        let open = [(&pair.v4, unspecified(true)), (&pair.v6, unspecified(false))];
        let open: Vec<_> = open.into_iter().filter_map(|(endpoint, any)| Some((endpoint.as_ref()?, any))).collect();
        if open.is_empty() {
            return Err(closed());
        }
        open.into_iter()
            .try_for_each(|(endpoint, any)| UdpSocket::bind(any).and_then(|socket| endpoint.rebind(socket)).map_err(io))
    }

    /// The endpoint for addresses of this kind.
    pub(crate) fn endpoint(&self, v4: bool) -> Result<Endpoint, Error> {
        let mut pair = self.pair.lock();
        let slot = if v4 { &mut pair.v4 } else { &mut pair.v6 };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = Endpoint::client(unspecified(v4))
            .map_err(|error| Error::new(Code::Unreachable, format!("no socket could be opened: {error}")))?;
        *slot = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Waits until the peers of all connections were told that they were closed.
    pub(crate) async fn wait_idle(&self) {
        let endpoints = {
            let pair = self.pair.lock();
            [pair.v4.clone(), pair.v6.clone()]
        };
        for endpoint in endpoints.into_iter().flatten() {
            endpoint.wait_idle().await;
        }
    }
}

fn unspecified(v4: bool) -> SocketAddr {
    if v4 { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() }
}
