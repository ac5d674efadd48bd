//! A server in this process, tokens for it, and clients that trust it.

use highwater_client::{
    CertificateHash, Client, ClientBuilder, Code, ConnectionState, Content, Event, Kind, Message, NewConversation,
    SessionKind, StateWatch, SubscribeOptions, Subscription, Trust,
};
use highwater_server::auth::{Claims, mint};
use highwater_server::config::DEFAULT_AUDIENCE;
use highwater_server::dev::{Directory, KID};
use highwater_server::{Config, Server};
use highwater_tests::world::scratch;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// A server in a directory of its own.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) data: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let data = scratch();
        let mut config = Config::dev(data.path(), ([127, 0, 0, 1], 0).into());
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        Self { server, data }
    }

    /// Another server on the same directory and address, after this one has drained.
    pub(crate) async fn restart(self) -> Self {
        let Self { server, data } = self;
        let address = server.local_address();
        soon("the drain", server.shutdown()).await.unwrap();
        let server = Server::start(Config::dev(data.path(), address)).await.unwrap();
        Self { server, data }
    }

    /// What a client of this server needs, but for the token.
    pub(crate) fn client(&self) -> ClientBuilder {
        client(self.data.path(), &self.server.local_address().to_string())
    }

    /// A client with a token of this user, connected.
    pub(crate) async fn connect(&self, user: &str, device: &str, kind: SessionKind) -> Client {
        let token = token(self.data.path(), user, None, 3_600_000);
        let builder = self.client().token(token).device(device).session(kind);
        soon("the connection", builder.connect()).await.unwrap()
    }

    /// A client that may send.
    pub(crate) async fn sender(&self, user: &str, device: &str) -> Client {
        self.connect(user, device, SessionKind::Send).await
    }

    /// A client that reads.
    pub(crate) async fn reader(&self, user: &str) -> Client {
        self.connect(user, "", SessionKind::Read).await
    }
}

/// A client that trusts the development server of this directory.
pub(crate) fn client(data: &Path, address: &str) -> ClientBuilder {
    let pem = std::fs::read(data.join("dev").join("certificate.pem")).unwrap();
    Client::builder(address).trust(Trust::Pinned(vec![CertificateHash::of_pem(&pem).unwrap()]))
}

/// A token signed with the key of the development server of this directory. It may have ended before it began.
pub(crate) fn token(data: &Path, user: &str, scope: Option<&str>, ends_in_ms: i64) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let ends_s = now_ms.saturating_add_signed(ends_in_ms) as f64 / 1_000.0;
    let claims = Claims {
        sub: user.to_owned(),
        dev: None,
        exp: serde_json::Number::from_f64(ends_s).unwrap(),
        aud: DEFAULT_AUDIENCE.into(),
        scope: scope.map(str::to_owned),
    };
    let key = Directory::of(data).signing_key().unwrap().encoding_key().unwrap();
    mint(&claims, KID, &key).unwrap()
}

/// A group with these members besides its creator.
pub(crate) async fn create_group(client: &Client, id: &str, members: &[&str]) {
    let members = members.iter().map(|member| (*member).to_owned()).collect();
    let new = NewConversation { id: Some(id.to_owned()), members, ..NewConversation::new(Kind::Group) };
    soon("the group", client.create(new)).await.unwrap();
}

pub(crate) async fn say(client: &Client, conversation: &str, text: &str) -> highwater_client::Receipt {
    let message = Message::to_conversation(conversation, text.to_owned());
    soon("the receipt", client.send(message)).await.unwrap()
}

/// A message as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) position: u64,
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    pub(crate) text: String,
}

/// The next so many messages of a subscription.
pub(crate) async fn hear(subscription: &mut Subscription, count: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    while heard.len() < count {
        match soon("an event", subscription.next()).await {
            Some(event) => heard.extend(message(event.unwrap())),
            None => panic!("the subscription ended after {} of {count} messages", heard.len()),
        }
    }
    heard
}

/// Everything that there is, of a fresh device.
pub(crate) async fn hear_all(client: &Client) -> Vec<Heard> {
    let mut subscription = client.subscribe(SubscribeOptions { live: false, ..Default::default() });
    let mut heard = Vec::new();
    while let Some(event) = soon("an event", subscription.next()).await {
        heard.extend(message(event.unwrap()));
    }
    heard
}

fn message(event: Event) -> Option<Heard> {
    let Event::Record(record) = event else { return None };
    let Content::Message(text) = record.content else { return None };
    let body = text.body.map_or_else(|| "(recalled)".to_owned(), |body| String::from_utf8(body.to_vec()).unwrap());
    Some(Heard { position: record.position, conversation: record.conversation, seq: record.seq.unwrap(), text: body })
}

pub(crate) fn texts(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|heard| heard.text.as_str()).collect()
}

/// Waits until the client has closed for good, and says why.
pub(crate) async fn closed(mut states: StateWatch) -> Code {
    loop {
        if let ConnectionState::Closed { reason } = states.current() {
            return reason.expect("it was not closed by the test").code;
        }
        soon("the end", states.changed()).await;
    }
}
