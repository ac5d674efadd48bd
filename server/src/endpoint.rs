//! The UDP port: which connections are taken, and what the transport may hold for each.

use crate::config::{Config, StartError};
use crate::keys::EndpointKeys;
use crate::limits::{
    ConnectionLimits, INITIAL_WINDOW_BYTES, SEND_WINDOW_BYTES, STREAM_WINDOW_BYTES, UNAUTHENTICATED_WINDOW_BYTES,
};
use crate::session::{self, Shared};
use crate::tls::{self, ShownCertificate};
use quinn::congestion::CubicConfig;
use quinn::{Endpoint, IdleTimeout, Incoming, TransportConfig, VarInt};
use socket2::SockRef;
use std::net::UdpSocket;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes that are kept of packets which arrive before a connection attempt was looked at, of one and of all of them.
const INCOMING_BUFFER_BYTES: u64 = 16 << 10;
const INCOMING_BUFFERS_BYTES: u64 = 16 << 20;
/// Bytes of TLS messages that may be waiting out of order.
const CRYPTO_BUFFER_BYTES: usize = 16 << 10;

/// Bytes that the system may keep for the port in each direction.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Opens the port.
pub(crate) fn open(
    config: &Config,
    keys: &EndpointKeys,
    certificate: Arc<ShownCertificate>,
) -> Result<Endpoint, StartError> {
    let mut server = quinn::ServerConfig::with_crypto(tls::server_config(certificate)?);
    server.transport_config(Arc::new(transport(config)?));
    server.migration(true);
    server.max_incoming(config.connections.unauthenticated_max);
    server.incoming_buffer_size(INCOMING_BUFFER_BYTES);
    server.incoming_buffer_size_total(INCOMING_BUFFERS_BYTES);
    let cannot = |source| StartError::io(format!("cannot listen on {}", config.listen), source);
    let socket = UdpSocket::bind(config.listen).map_err(cannot)?;
    enlarge_buffers(&socket);
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new(keys.endpoint_config(), Some(server), socket, runtime).map_err(cannot)
}

/// One socket serves everybody: a thousand devices that answer a push at once should not overflow it.
fn enlarge_buffers(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    // The system may give less, without saying so; the port works all the same.
    let asked = (socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES), socket.set_send_buffer_size(SOCKET_BUFFER_BYTES));
    if let (Err(error), _) | (_, Err(error)) = asked {
        tracing::debug!(%error, "the port keeps the system's buffers");
    }
}

fn transport(config: &Config) -> Result<TransportConfig, StartError> {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(config.timeouts.idle)
        .map_err(|_| StartError::Config("timeouts.idle_ms is too long".to_owned()))?;
    transport
        .max_idle_timeout(Some(idle))
        // The command stream; queries are allowed once the client has authenticated.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(UNAUTHENTICATED_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .congestion_controller_factory(Arc::new(congestion()))
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

fn congestion() -> CubicConfig {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    congestion
}

/// Takes connections until told to drain, then waits for their ends.
pub(crate) async fn accept(
    endpoint: Endpoint,
    shared: Arc<Shared>,
    limits: ConnectionLimits,
    mut draining: watch::Receiver<bool>,
) {
    let all = Arc::new(Semaphore::new(limits.connections_max));
    let unauthenticated = Arc::new(Semaphore::new(limits.unauthenticated_max));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                if let Some((incoming, permits)) = admit(incoming, &all, &unauthenticated, &limits) {
                    connections.spawn(serve(shared.clone(), incoming, permits));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = draining.wait_for(|draining| *draining) => break,
        }
    }
    // Who comes now is refused at once.
    endpoint.set_server_config(None);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(shared.timeouts.drain, ended).await.is_err() {
        tracing::warn!(sessions = connections.len(), "sessions that did not end in time are cut off");
    }
}

/// Room for one connection, among all and among those that have not authenticated.
struct Permits {
    _connection: OwnedSemaphorePermit,
    unauthenticated: OwnedSemaphorePermit,
}

/// Takes a connection attempt if there is room for it.
fn admit(
    incoming: Incoming,
    all: &Arc<Semaphore>,
    unauthenticated: &Arc<Semaphore>,
    limits: &ConnectionLimits,
) -> Option<(Incoming, Permits)> {
    if unauthenticated.available_permits() < limits.unauthenticated_max.div_ceil(2) && incoming.may_retry() {
        if let Err(error) = incoming.retry() {
            error.into_incoming().refuse();
        }
        return None;
    }
    match (all.clone().try_acquire_owned(), unauthenticated.clone().try_acquire_owned()) {
        (Ok(connection), Ok(unauthenticated)) => Some((incoming, Permits { _connection: connection, unauthenticated })),
        _ => {
            tracing::debug!(peer = %incoming.remote_address(), "connection refused: the server is full");
            incoming.refuse();
            None
        }
    }
}

async fn serve(shared: Arc<Shared>, incoming: Incoming, permits: Permits) {
    let peer = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    match timeout(shared.timeouts.handshake, handshake).await {
        Ok(Ok(connection)) => session::serve(shared, connection, permits.unauthenticated).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "handshake failed"),
        Err(_) => tracing::debug!(%peer, "handshake did not end in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::congestion::ControllerFactory;
    use std::time::Instant;

    #[test]
    fn a_page_goes_out_without_waiting_for_the_peer() {
        let controller = Arc::new(congestion()).build(Instant::now(), 1_200);
        assert_eq!(controller.window(), INITIAL_WINDOW_BYTES);
    }
}
