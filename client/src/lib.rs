//! Highwater's client library: send messages, and receive everything a device missed and everything that follows.
//!
//! A [`Client`] keeps one QUIC connection to a server and brings it back when it breaks. Sends are queued, numbered, and
//! accepted once however often they are transmitted; a [`Subscription`] yields every event at least once, in order.
//!
//! ```no_run
//! use highwater_client::{Client, Event, Message, SessionKind, SubscribeOptions, Trust, CertificateHash};
//!
//! # async fn run(certificate: Vec<u8>, token: String) -> Result<(), highwater_client::Error> {
//! let client = Client::builder("localhost:4433")
//!     .trust(Trust::Pinned(vec![CertificateHash::of_der(&certificate)]))
//!     .token(token)
//!     .session(SessionKind::Send)
//!     .connect()
//!     .await?;
//!
//! let receipt = client.send(Message::to_user("grace", "Good morning.")).await?;
//! println!("message {} of {}", receipt.seq, receipt.conversation);
//!
//! let mut events = client.subscribe(SubscribeOptions::default());
//! while let Some(event) = events.next().await {
//!     if let Event::Record(record) = event? {
//!         println!("{}: {:?}", record.conversation, record.content);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//! - A send is in the [`OutgoingStore`] before anything is transmitted, and leaves it when the server has answered. It
//!   makes one record at most, over any number of connections and (with a durable store) restarts.
//! - A subscription yields every event at least once, in position order, identified by (conversation, seq). Exactly once
//!   if the application writes inside the transaction that stores the checkpoint (`Batch::commit_with` of the SQLite
//!   store).
//! - Memory is bounded: unsent commands by [`ClientBuilder::outgoing_limits`], a subscription by one delta and the
//!   connection's receive windows (at most 4 MiB), everything else by small constants.
//!
//! # Errors
//! [`Error`] says by its [`Code`] whether the same call may succeed later ([`Code::is_retryable`]) and whether anything
//! may have happened ([`Code::may_have_happened`]).
//!
//! # Features
//! `sqlite`: stores that survive restarts. `cli`: the command line `hw`. Neither is needed.

mod backoff;
mod builder;
mod client;
mod command;
mod driver;
mod link;
mod model;
mod outgoing;
mod query;
mod sockets;
mod state;
pub mod store;
mod subscription;
#[cfg(test)]
mod tests;
mod trust;

pub use backoff::Backoff;
pub use builder::{ClientBuilder, SessionKind};
pub use client::{Client, Sending};
pub use command::{LocalId, Message, NewConversation, Numbered, Page, Quote, Recipient, SettingsChange};
pub use highwater_proto::error::{Code, Error};
pub use highwater_proto::id::Incarnation;
pub use highwater_proto::record::{Fanout, Kind, Role};
pub use model::{
    Change, Content, Conversation, ConversationsPage, Device, Gap, Member, MembersPage, Range, Receipt, Record, Text,
};
pub use sockets::Sockets;
pub use state::{ConnectionState, Session, StateWatch};
pub use store::{Checkpoint, CheckpointStore, MemoryCheckpoints, MemoryOutgoing, OutgoingStore};
#[cfg(feature = "sqlite")]
pub use store::{SqliteCheckpoints, SqliteOutgoing, StateDir};
pub use subscription::{Batch, Event, EventStream, ResetReason, Start, SubscribeOptions, Subscription};
pub use trust::{CertificateHash, Trust};
