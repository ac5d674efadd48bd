//! NATS JetStream.
//!
//! *Copying*: a subject for each member; a message is published to all of them. *Log*: a subject for each conversation.
//! In both a member has a consumer: of its own subject, or of all its conversations'.
//!
//! Tuned: messages go to a few streams ([`STREAMS`]) by their conversation or member, because a stream writes, and syncs,
//! under one lock; a stream per conversation would be thousands of directories. Publishing waits for acknowledgements a
//! whole window behind. Consumers are made before the clock runs, keep their state in memory and need no
//! acknowledgements; one request fetches everything that is pending. The connection is plain TCP.
//!
//! With `sync_interval: always` every publish is a sync of its own, which makes copies slow. Atomic batches, new in 2.12,
//! may sync less often; the Rust client has no call for them, and they are not used.
//!
//! `sync_interval: always`, and consumers of several subjects, came with 2.10. Debian 12 has 2.9, which cannot do what an
//! acknowledgement that survives a power cut needs; a newer one may be named by `HIGHWATER_NATS_SERVER`.

use super::job::{IN_FLIGHT_MAX, Job, Seen, Source, reader_name, sender_name};
use super::measure::{Contestant, Durability, Layout, Setup, shares};
use super::server::{Server, disk_bytes, find, free_port, version};
use crate::context::Failure;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture};
use async_nats::jetstream::stream;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Names the server's program.
pub(crate) const VARIABLE: &str = "HIGHWATER_NATS_SERVER";
/// The version that brought `sync_interval: always`, and consumers of several subjects.
const ABLE_SINCE: (u32, u32) = (2, 10);
const STREAMS: usize = 4;
const CONNECTIONS: usize = 16;
/// Members that catch up at the same time on a connection.
const READS_AT_ONCE: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn program() -> Option<PathBuf> {
    find("nats-server", VARIABLE, &[PathBuf::from("/usr/sbin/nats-server")])
}

/// Why it cannot sync before it acknowledges, and read several conversations at once; `None` if it can.
pub(crate) fn hindrance(program: &Path) -> Option<String> {
    let version = version(program);
    let mut numbers = version.rsplit('v').next().unwrap_or_default().split('.').map_while(|part| part.parse().ok());
    let known: Option<(u32, u32)> = numbers.next().zip(numbers.next());
    let can = known.is_some_and(|known| known >= ABLE_SINCE);
    (!can).then(|| format!("{version} cannot; name a newer one, from 2.10 on, by {VARIABLE}"))
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
                ..Default::default()
            };
            admin.create_stream(config).await?;
        }
        Ok(Self { server, port, setup: setup.clone(), admin })
    }

    async fn senders(&self) -> Result<Vec<Sender>, Failure> {
        let subjects = Arc::new(self.subjects());
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            senders.push(Sender { context: self.connect().await?, subjects: Arc::clone(&subjects) });
        }
        Ok(senders)
    }

    async fn send(sender: &mut Sender, source: &mut Source) -> Result<(), Failure> {
        let mut waiting: VecDeque<Vec<PublishAckFuture>> = VecDeque::new();
        while let Some(outgoing) = source.next() {
            if waiting.len() == source.window {
                all(waiting.pop_front()).await?;
            }
            let mut acks = Vec::new();
            for (_, subject) in &sender.subjects[outgoing.conversation] {
                acks.push(sender.context.publish(subject.clone(), outgoing.body.clone()).await?);
            }
            waiting.push_back(acks);
        }
        while !waiting.is_empty() {
            all(waiting.pop_front()).await?;
        }
        Ok(())
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
                    let mut filter_subjects: Vec<String> = own.collect();
                    // Older servers know the filter of one subject only.
                    let filter_subject = match filter_subjects.len() {
                        0 => continue,
                        1 => filter_subjects.remove(0),
                        _ => String::new(),
                    };
                    let config = pull::Config {
                        name: Some(reader_name(*reader)),
                        deliver_policy: DeliverPolicy::New,
                        ack_policy: AckPolicy::None,
                        filter_subject,
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

async fn all(acks: Option<Vec<PublishAckFuture>>) -> Result<(), Failure> {
    for ack in acks.into_iter().flatten() {
        ack.await?;
    }
    Ok(())
}

async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}
