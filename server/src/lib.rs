//! The server: an engine behind one UDP port.
//!
//! A connection is a session of one user (or of the service). It has one command stream, at most one delta stream, and a
//! stream for each query. Everything a peer can make the server hold is bounded by a limit in [`limits`], and everything
//! it can make the server wait for by a deadline in [`config::Timeouts`].
//!
//! - [`config`]: what the configuration file and the command line say, checked.
//! - [`Server`]: starts and drains; [`limits`]: what one connection may cost.
//! - [`auth`]: tokens. [`dev`]: certificate and signing key of a server in development mode.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use highwater_server::{Config, Server};
//!
//! let server = Server::start(Config::dev("/tmp/demo", ([127, 0, 0, 1], 0).into())).await?;
//! println!("ready {}", server.local_address());
//! server.shutdown().await?;
//! # Ok(())
//! # }
//! ```

pub mod auth;
pub mod config;
pub mod dev;
pub mod limits;

mod convert;
mod endpoint;
mod files;
mod keys;
mod server;
mod session;
mod tls;

pub use config::{Config, StartError};
pub use server::Server;
