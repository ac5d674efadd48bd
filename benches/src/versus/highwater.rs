//! Highwater: its server as a process, its client library as any application would use it, over QUIC with TLS.
//!
//! Every sender and every reader is a device with a session of its own, as in use: a thousand connections catch up, where
//! the rivals' readers share sixteen. How a message is fanned out is the server's own choice.

use super::job::{Job, READERS, SENDERS, Seen, Source, reader_name, sender_name};
use super::measure::{Contestant, Durability, Setup, shares};
use super::server::{Server, disk_bytes};
use crate::context::Failure;
use highwater_client::{
    CertificateHash, CheckpointStore, Client, Content, Event, Kind, MemoryCheckpoints, Message, NewConversation,
    Numbered, Recipient, Sending, SessionKind, Sockets, Start, SubscribeOptions, Trust,
};
use highwater_server::auth::{Claims, Scope, mint};
use highwater_server::config::DEFAULT_AUDIENCE;
use highwater_server::dev::{Directory, KID};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clients that share a socket; and tasks that catch up, each one client after the other.
const SOCKETS: usize = 16;
const READS_AT_ONCE: usize = 4;
const TOKEN_SECONDS: u64 = 3_600;

/// The server's program: beside this one.
pub(crate) fn program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name("highwater");
    program.is_file().then_some(program)
}

pub(crate) struct Highwater {
    server: Server,
    address: String,
    trust: Trust,
    key: jsonwebtoken::EncodingKey,
    setup: Setup,
}

/// A client, and where a message to each conversation goes.
pub(crate) struct Sender {
    client: Client,
    recipients: Vec<Recipient>,
}

/// Clients with their positions.
pub(crate) struct Reader {
    members: Vec<(Client, MemoryCheckpoints)>,
}

impl Highwater {
    /// A client of a user, or of a service that is nobody.
    async fn connect(&self, user: Option<&str>, kind: SessionKind, sockets: &Sockets) -> Result<Client, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            sub: user.unwrap_or("versus").to_owned(),
            dev: None,
            exp: (now + TOKEN_SECONDS).into(),
            aud: DEFAULT_AUDIENCE.to_owned().into(),
            scope: user.is_none().then(|| Scope::Service.as_str().to_owned()),
        };
        let token = mint(&claims, KID, &self.key)?;
        let builder = Client::builder(&self.address).trust(self.trust.clone()).token(token).session(kind);
        let builder = builder.sockets(sockets).connect_timeout(Duration::from_secs(30));
        let builder = if user.is_some() { builder.device("d") } else { builder };
        Ok(builder.connect().await?)
    }

    async fn make_conversations(&self) -> Result<(), Failure> {
        let service = self.connect(None, SessionKind::Read, &Sockets::default()).await?;
        // In a server for development users come into being when they are named.
        for (conversation, readers) in self.setup.job.readers.iter().enumerate() {
            if self.setup.job.members == 2 {
                continue;
            }
            let new = NewConversation {
                kind: Kind::Group,
                id: Some(conversation_name(conversation)),
                owner: Some(sender_name(Job::sender_of(conversation))),
                members: readers.iter().map(|reader| reader_name(*reader)).collect(),
                open: false,
                history: false,
            };
            service.create(new).await?;
        }
        service.close().await;
        Ok(())
    }
}

fn conversation_name(conversation: usize) -> String {
    format!("c{conversation:04}")
}

impl Contestant for Highwater {
    type Sender = Sender;
    type Reader = Reader;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let program = program().ok_or("highwater is missing: cargo build --release --workspace --bins")?;
        let data = setup.data.join("data");
        let directory = data.to_str().ok_or("the path is no text")?;
        let durability = match setup.durability {
            Durability::Power => "power",
            Durability::Crash => "crash",
        };
        let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--durability", durability, "--data", directory];
        let mut server = Server::start(&program, &arguments, &setup.data.join("log"), None)?;
        let address = server.says("ready ").await?;
        let certificate = std::fs::read(data.join("dev/certificate.pem"))?;
        let trust = Trust::Pinned(vec![CertificateHash::of_pem(&certificate)?]);
        let key = Directory::of(&data).signing_key()?.encoding_key()?;
        let started = Self { server, address, trust, key, setup: setup.clone() };
        started.make_conversations().await?;
        Ok(started)
    }

    async fn senders(&self) -> Result<Vec<Sender>, Failure> {
        let job = &self.setup.job;
        let recipients = job.readers.iter().enumerate().map(|(conversation, readers)| match job.members {
            2 => Recipient::User(reader_name(readers[0])),
            _ => Recipient::Conversation(conversation_name(conversation)),
        });
        let recipients: Vec<Recipient> = recipients.collect();
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let client = self.connect(Some(&sender_name(sender)), SessionKind::Send, &Sockets::default()).await?;
            senders.push(Sender { client, recipients: recipients.clone() });
        }
        Ok(senders)
    }

    async fn send(sender: &mut Sender, source: &mut Source) -> Result<(), Failure> {
        let mut waiting: VecDeque<Sending> = VecDeque::new();
        loop {
            let mut batch = Vec::new();
            while waiting.len() + batch.len() < source.window
                && let Some(outgoing) = source.next()
            {
                let message = match sender.recipients[outgoing.conversation].clone() {
                    Recipient::User(user) => Message::to_user(user, outgoing.body),
                    Recipient::Conversation(conversation) => Message::to_conversation(conversation, outgoing.body),
                };
                batch.push(Numbered::Send(message));
            }
            if batch.is_empty() && waiting.is_empty() {
                return Ok(());
            }
            for queued in sender.client.enqueue_all(batch).await {
                waiting.push_back(queued?);
            }
            // Half of the window at a time, so that the server has something to do while the next half is made.
            for mut sending in waiting.drain(..waiting.len().min(source.window.div_ceil(2))) {
                sending.receipt().await?;
            }
        }
    }

    async fn readers(&self) -> Result<Vec<(Reader, Vec<usize>)>, Failure> {
        let sockets: Vec<Sockets> = (0..SOCKETS).map(|_| Sockets::default()).collect();
        let mut readers = Vec::new();
        for share in shares(SOCKETS * READS_AT_ONCE) {
            let mut members = Vec::new();
            for reader in &share {
                let user = reader_name(*reader);
                let client = self.connect(Some(&user), SessionKind::Read, &sockets[reader % SOCKETS]).await?;
                let store = end(&client).await?;
                members.push((client, store));
            }
            readers.push((Reader { members }, share));
        }
        debug_assert_eq!(readers.iter().map(|(_, share)| share.len()).sum::<usize>(), READERS);
        Ok(readers)
    }

    async fn catch_up(reader: &mut Reader, seen: &mut [Seen]) -> Result<(), Failure> {
        for ((client, store), seen) in reader.members.iter_mut().zip(seen) {
            let options = SubscribeOptions { live: false, ..SubscribeOptions::default() };
            let mut subscription = client.subscribe_with(options, store.clone());
            while let Some(batch) = subscription.next_batch().await? {
                for event in batch.events() {
                    match event {
                        Event::Record(record) => {
                            let Content::Message(text) = &record.content else { continue };
                            let number = seen.take(text.body.as_deref().unwrap_or_default())?;
                            // The conversation's making is its first entry, and every message the next one.
                            if record.seq != Some(u64::from(number) + 1) {
                                return Err(format!("message {number} has seq {:?}", record.seq).into());
                            }
                        }
                        Event::Gap(gap) => return Err(format!("there is a gap: {gap:?}").into()),
                        _ => {}
                    }
                }
                batch.commit()?;
            }
            *store = subscription.store().clone();
        }
        Ok(())
    }

    async fn entries(&self) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stop(self) -> Result<u64, Failure> {
        self.server.stop("TERM").await?;
        Ok(disk_bytes(&self.setup.data.join("data"), "dev"))
    }
}

/// The present end, as a device learns it that has nothing and wants no past.
async fn end(client: &Client) -> Result<MemoryCheckpoints, Failure> {
    let options = SubscribeOptions { start: Start::Snapshot, live: false, ..SubscribeOptions::default() };
    let mut subscription = client.subscribe(options);
    while let Some(batch) = subscription.next_batch().await? {
        batch.commit()?;
    }
    let incarnation = client.session().ok_or("the session ended")?.incarnation;
    let held = subscription.store().load(incarnation)?;
    Ok(MemoryCheckpoints::starting_at(held.ok_or("a snapshot came without a checkpoint")?))
}
