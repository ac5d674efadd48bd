//! A running server: starting in the right order, and stopping in the reverse of it.

use crate::auth::TokenKeys;
use crate::config::{Config, DEFAULT_AUDIENCE, Security, StartError};
use crate::dev::{self, Directory};
use crate::endpoint;
use crate::keys::EndpointKeys;
use crate::limits::{CATCH_UP_PAGES_PER_ROUND, READS_AT_ONCE_MAX};
use crate::session::{Handover, Shared, now_ms};
use crate::tls::{self, ShownCertificate};
use highwater_engine::Engine;
use highwater_proto::error::{Code, Error};
use quinn::{Endpoint, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long the last packets may take to leave when the server stops.
const LAST_PACKETS_TIMEOUT: Duration = Duration::from_secs(1);

/// A running server. Dropping it without [`shutdown`](Self::shutdown) is like a crash of the store.
pub struct Server {
    engine: Engine,
    endpoint: Endpoint,
    address: SocketAddr,
    draining: watch::Sender<bool>,
    poisoned: watch::Receiver<Option<Error>>,
    accepting: JoinHandle<()>,
    handover: Arc<Handover>,
    waking: JoinHandle<()>,
    renewing: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the store and the port. Returns when clients can connect.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        // Opening may replay a log, which takes as long as it takes.
        let (path, options) = (config.data.clone(), config.engine_options());
        let engine = tokio::task::spawn_blocking(move || Engine::open(path, options))
            .await
            .map_err(|error| StartError::Failed(format!("opening the store failed: {error}")))??;
        match Self::serve(&config, engine.clone()) {
            Ok(server) => Ok(server),
            Err(error) => {
                close(engine).await?;
                Err(error)
            }
        }
    }

    /// Opens the port for a store that is open already, as in an application that uses both. Returns when clients can
    /// connect. What the configuration says about the store itself is not looked at: it was opened as it was.
    pub fn serve(config: &Config, engine: Engine) -> Result<Self, StartError> {
        config.check()?;
        // The store is locked by now, so that nobody else makes keys in its directory.
        let (tell, poisoned) = watch::channel(None);
        engine.on_poisoned(Box::new(move |error| {
            tell.send_replace(Some(error));
        }));
        let keys = EndpointKeys::load_or_create(&config.data)?;
        let Secured { certificate, tokens, directory } = secure(config)?;
        let endpoint = endpoint::open(config, &keys, certificate.clone())?;
        let address =
            endpoint.local_addr().map_err(|source| StartError::io("the port has no address".to_owned(), source))?;
        if let Some(directory) = &directory {
            directory.write_address(address)?;
        }
        let (draining, drains) = watch::channel(false);
        let handover = Arc::new(Handover::default());
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            tokens,
            timeouts: config.timeouts.clone(),
            draining: drains.clone(),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE_MAX)),
            catch_ups: Semaphore::new(CATCH_UP_PAGES_PER_ROUND),
            handover: handover.clone(),
        });
        let waking = tokio::spawn({
            let handover = handover.clone();
            async move { handover.serve().await }
        });
        let accepting = tokio::spawn(endpoint::accept(endpoint.clone(), shared, config.connections.clone(), drains));
        let renewing = directory.map(|directory| tokio::spawn(renew(directory, certificate)));
        tracing::info!(%address, data = %config.data.display(), incarnation = %engine.incarnation(), "server started");
        Ok(Self { engine, endpoint, address, draining, poisoned, accepting, handover, waking, renewing })
    }

    /// The UDP address that clients connect to.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The store behind the server.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Resolves when the store has failed for good: nothing more is accepted, and the process is to be restarted.
    pub async fn failed(&self) -> Error {
        let mut poisoned = self.poisoned.clone();
        match poisoned.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(|| Error::new(Code::Poisoned, "the store failed")),
            // The engine is gone without having failed; nothing more will come.
            Err(_) => std::future::pending().await,
        }
    }

    /// Drains: takes no more connections and commands, finishes what was accepted, tells the clients, persists.
    pub async fn shutdown(self) -> Result<(), Error> {
        tracing::info!(connections = self.endpoint.open_connections(), "draining");
        self.draining.send_replace(true);
        // It ends by itself, after a deadline at the latest; a panic there must not keep the store from being closed.
        let _ = self.accepting.await;
        if let Some(renewing) = self.renewing {
            renewing.abort();
        }
        self.endpoint.close(VarInt::from_u32(0), b"");
        let _ = timeout(LAST_PACKETS_TIMEOUT, self.endpoint.wait_idle()).await;
        let closed = close(self.engine).await;
        // The engine tells nobody anything any more.
        self.waking.abort();
        self.handover.clear();
        closed?;
        tracing::info!("drained");
        Ok(())
    }
}

async fn close(engine: Engine) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || engine.close())
        .await
        .map_err(|error| Error::new(Code::OutcomeUnknown, format!("closing the store failed: {error}")))?
}

/// What the server shows and what it believes.
struct Secured {
    certificate: Arc<ShownCertificate>,
    tokens: TokenKeys,
    /// In development mode.
    directory: Option<Directory>,
}

fn secure(config: &Config) -> Result<Secured, StartError> {
    match &config.security {
        Security::Configured { certificate, private_key, tokens } => Ok(Secured {
            certificate: ShownCertificate::new(tls::load(certificate, private_key)?),
            tokens: tokens.clone(),
            directory: None,
        }),
        Security::Development => {
            let directory = Directory::of(&config.data);
            directory.create()?;
            let mut tokens = TokenKeys::new(DEFAULT_AUDIENCE.to_owned());
            let signing_key = directory.signing_key_or_new()?;
            tokens
                .add(dev::KID.to_owned(), signing_key.public_pem().as_bytes())
                .map_err(|_| StartError::Failed("the signing key cannot be used".to_owned()))?;
            let certificate = ShownCertificate::new(directory.certificate(now_ms())?.certified()?);
            Ok(Secured { certificate, tokens, directory: Some(directory) })
        }
    }
}

/// Renews the development certificate when it is due. New connections see the new one; open ones go on.
async fn renew(directory: Directory, shown: Arc<ShownCertificate>) {
    loop {
        tokio::time::sleep(dev::RENEWAL_CHECK_INTERVAL).await;
        let (due, now_ms) = (directory.clone(), now_ms());
        let renewed = tokio::task::spawn_blocking(move || due.renewed(now_ms)).await;
        match renewed {
            Ok(Ok(Some(certificate))) => {
                shown.replace(certificate);
                tracing::info!("development certificate renewed");
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "development certificate not renewed"),
            // The runtime is being shut down.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
