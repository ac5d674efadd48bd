//! NATS JetStream.
//!
//! *Copying*: a subject for each member; a message is published to all of them. *Log*: a subject for each conversation.
//! In both a member has a consumer: of its own subject, or of all its conversations'.
//!
//! Tuned: messages go to a few streams ([`STREAMS`]) by their conversation or member, because a stream writes, and syncs,
//! under one lock; a stream per conversation would be thousands of directories. With `sync_interval: always`, where a
//! publish is a sync, copies are published as atomic batches of up to 1,000, which are synced together (from 2.12 on;
//! before, one by one). Consumers are made before the clock runs, keep their state in memory and need no
//! acknowledgements; one request fetches everything that is pending. The connection is plain TCP.
//!
//! `sync_interval: always` came with 2.10; Debian 12 has 2.9, which cannot do what an acknowledgement that survives a
//! power cut needs. A newer one may be named by `HIGHWATER_NATS_SERVER`.

use super::job::{IN_FLIGHT_MAX, Job, Seen, Source, reader_name, sender_name};
use super::measure::{Contestant, Durability, Layout, Setup, shares};
use super::server::{Server, disk_bytes, find, free_port, version};
use crate::context::Failure;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture};
use async_nats::jetstream::stream;
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Names the server's program.
pub(crate) const VARIABLE: &str = "HIGHWATER_NATS_SERVER";
/// The version that brought `sync_interval: always`.
const SYNC_ALWAYS_SINCE: (u32, u32) = (2, 10);
const STREAMS: usize = 4;
const CONNECTIONS: usize = 16;
/// Members that catch up at the same time on a connection.
const READS_AT_ONCE: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn program() -> Option<PathBuf> {
    find("nats-server", VARIABLE, &[PathBuf::from("/usr/sbin/nats-server")])
}

/// Why it cannot sync before it acknowledges; `None` if it can.
pub(crate) fn hindrance(program: &Path) -> Option<String> {
    let version = version(program);
    let mut numbers = version.rsplit('v').next().unwrap_or_default().split('.').map_while(|part| part.parse().ok());
    let known: Option<(u32, u32)> = numbers.next().zip(numbers.next());
    let can = known.is_some_and(|known| known >= SYNC_ALWAYS_SINCE);
    (!can).then(|| format!("{version} has no `sync_interval: always`; name a newer one by {VARIABLE}"))
}

pub(crate) fn configuration(durability: Durability) -> &'static str {
    match durability {
        Durability::Power => "sync_interval: always",
        Durability::Crash => "",
    }
}

pub(crate) struct Nats {
    server: Server,
    port: u16,
    setup: Setup,
    admin: Context,
}

/// A connection, and the subjects that a message to each conversation goes to, with the stream of each.
pub(crate) struct Sender {
    context: Context,
    subjects: Arc<Vec<Vec<(usize, String)>>>,
    is_atomic: bool,
    batches: u64,
    name: usize,
}

/// Of each member the consumers, one for each stream.
pub(crate) struct Reader {
    members: Vec<Vec<(usize, Consumer<pull::Config>)>>,
    layout: Layout,
}

fn conversation_subject(conversation: usize) -> (usize, String) {
    let stream = conversation % STREAMS;
    (stream, format!("c.{stream}.{conversation}"))
}

fn member_subject(member: usize, name: &str) -> (usize, String) {
    let stream = member % STREAMS;
    (stream, format!("u.{stream}.{name}"))
}

impl Nats {
    async fn connect(&self) -> Result<Context, Failure> {
        context(self.port, self.setup.layout.copies(&self.setup.job)).await
    }

    /// The subjects that a message to each conversation goes to.
    fn subjects(&self) -> Vec<Vec<(usize, String)>> {
        let job = &self.setup.job;
        let of = |(conversation, readers): (usize, &Vec<usize>)| match self.setup.layout {
            Layout::Log => vec![conversation_subject(conversation)],
            Layout::Copying => {
                let sender = Job::sender_of(conversation);
                let readers = readers.iter().map(|reader| member_subject(*reader, &reader_name(*reader)));
                readers.chain([member_subject(sender, &sender_name(sender))]).collect()
            }
        };
        job.readers.iter().enumerate().map(of).collect()
    }
}

async fn context(port: u16, copies: usize) -> Result<Context, Failure> {
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await?;
    let in_flight = 2 * IN_FLIGHT_MAX.max(super::job::COPIES_IN_FLIGHT_MAX) * copies.clamp(1, 2);
    Ok(ContextBuilder::new().timeout(TIMEOUT).max_ack_inflight(in_flight).build(client))
}

impl Contestant for Nats {
    type Sender = Sender;
    type Reader = Reader;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let program = program().ok_or("nats-server is not installed")?;
        let port = free_port()?;
        let file = setup.data.join("nats.conf");
        let store = setup.data.join("data");
        let text = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{}\", max_file: 64G\n{} }}\n",
            store.display(),
            configuration(setup.durability)
        );
        std::fs::write(&file, text)?;
        let file = file.to_str().ok_or("the path is no text")?;
        let mut server = Server::start(&program, &["-c", file], &setup.data.join("log"), None)?;
        server.listens(port).await?;
        let admin = context(port, 1).await?;
        for number in 0..STREAMS {
            let config = stream::Config {
                name: format!("S{number}"),
                subjects: vec![format!("c.{number}.*"), format!("u.{number}.*")],
                storage: stream::StorageType::File,
                num_replicas: 1,
                allow_atomic_publish: setup.durability == Durability::Power,
                ..Default::default()
            };
            admin.create_stream(config).await?;
        }
        Ok(Self { server, port, setup: setup.clone(), admin })
    }

    async fn senders(&self) -> Result<Vec<Sender>, Failure> {
        let subjects = Arc::new(self.subjects());
        let is_atomic = std::env::var("NATS_ATOMIC").is_ok();
        let mut senders = Vec::new();
        for name in 0..CONNECTIONS {
            let context = self.connect().await?;
            senders.push(Sender { context, subjects: Arc::clone(&subjects), is_atomic, batches: 0, name });
        }
        Ok(senders)
    }

    async fn send(sender: &mut Sender, source: &mut Source) -> Result<(), Failure> {
        if sender.is_atomic { sender.send_atomic(source).await } else { sender.send_each(source).await }
    }

    async fn readers(&self) -> Result<Vec<(Reader, Vec<usize>)>, Failure> {
        let memberships = self.setup.job.memberships();
        let mut readers = Vec::new();
        let mut context = None;
        for (part, share) in shares(CONNECTIONS * READS_AT_ONCE).into_iter().enumerate() {
            if part % READS_AT_ONCE == 0 {
                context = Some(self.connect().await?);
            }
            let context = context.as_ref().ok_or("there is no connection")?;
            let mut members = Vec::new();
            for reader in &share {
                let subjects: Vec<(usize, String)> = match self.setup.layout {
                    Layout::Copying => vec![member_subject(*reader, &reader_name(*reader))],
                    Layout::Log => memberships[*reader].iter().map(|index| conversation_subject(*index)).collect(),
                };
                let mut consumers = Vec::new();
                for stream in 0..STREAMS {
                    let own = subjects.iter().filter(|(of, _)| *of == stream).map(|(_, subject)| subject.clone());
                    let filter_subjects: Vec<String> = own.collect();
                    if filter_subjects.is_empty() {
                        continue;
                    }
                    let config = pull::Config {
                        name: Some(reader_name(*reader)),
                        deliver_policy: DeliverPolicy::New,
                        ack_policy: AckPolicy::None,
                        filter_subjects,
                        memory_storage: true,
                        inactive_threshold: Duration::from_secs(600),
                        ..Default::default()
                    };
                    consumers.push((stream, context.create_consumer_on_stream(config, format!("S{stream}")).await?));
                }
                members.push(consumers);
            }
            readers.push((Reader { members, layout: self.setup.layout }, share));
        }
        Ok(readers)
    }

    async fn catch_up(reader: &mut Reader, seen: &mut [Seen]) -> Result<(), Failure> {
        for (consumers, seen) in reader.members.iter().zip(seen) {
            for (stream, consumer) in consumers {
                let pending = match reader.layout {
                    Layout::Copying => seen.missing(),
                    Layout::Log => seen.missing_of(|conversation| conversation % STREAMS == *stream),
                };
                let mut batch = consumer.fetch().max_messages(pending).messages().await?;
                while let Some(message) = next(&mut batch).await {
                    seen.take(&message?.payload)?;
                }
            }
        }
        Ok(())
    }

    async fn entries(&self) -> Result<Option<u64>, Failure> {
        let mut entries = 0;
        for number in 0..STREAMS {
            entries += self.admin.get_stream(format!("S{number}")).await?.cached_info().state.messages;
        }
        Ok(Some(entries))
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stop(self) -> Result<u64, Failure> {
        self.server.stop("TERM").await?;
        Ok(disk_bytes(&self.setup.data.join("data"), ""))
    }
}

impl Sender {
    async fn send_each(&mut self, source: &mut Source) -> Result<(), Failure> {
        let mut waiting: VecDeque<Vec<PublishAckFuture>> = VecDeque::new();
        while let Some(outgoing) = source.next() {
            if waiting.len() == source.window {
                all(waiting.pop_front()).await?;
            }
            let mut acks = Vec::new();
            for (_, subject) in &self.subjects[outgoing.conversation] {
                acks.push(self.context.publish(subject.clone(), outgoing.body.clone()).await?);
            }
            waiting.push_back(acks);
        }
        while !waiting.is_empty() {
            all(waiting.pop_front()).await?;
        }
        Ok(())
    }

    async fn send_atomic(&mut self, source: &mut Source) -> Result<(), Failure> {
        /// Most messages of an atomic batch.
        const BATCH_MAX: usize = 1_000;
        loop {
            let batch = source.batch();
            if batch.is_empty() {
                return Ok(());
            }
            let mut of_stream: Vec<Vec<(&str, Bytes)>> = vec![Vec::new(); STREAMS];
            for outgoing in &batch {
                for (stream, subject) in &self.subjects[outgoing.conversation] {
                    of_stream[*stream].push((subject, outgoing.body.clone()));
                }
            }
            let mut acks = Vec::new();
            for entries in of_stream.iter().flat_map(|entries| entries.chunks(BATCH_MAX)) {
                self.batches += 1;
                let id = format!("{}-{}", self.name, self.batches);
                for (place, (subject, body)) in entries.iter().enumerate() {
                    let mut headers = async_nats::HeaderMap::new();
                    headers.insert("Nats-Batch-Id", id.as_str());
                    headers.insert("Nats-Batch-Sequence", (place + 1).to_string());
                    if place + 1 == entries.len() {
                        headers.insert("Nats-Batch-Commit", "1");
                        acks.push(
                            self.context.publish_with_headers((*subject).to_owned(), headers, body.clone()).await?,
                        );
                    } else {
                        let client = self.context.client();
                        client.publish_with_headers((*subject).to_owned(), headers, body.clone()).await?;
                    }
                }
            }
            all(Some(acks)).await?;
        }
    }
}

async fn all(acks: Option<Vec<PublishAckFuture>>) -> Result<(), Failure> {
    for ack in acks.into_iter().flatten() {
        ack.await?;
    }
    Ok(())
}

async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}
