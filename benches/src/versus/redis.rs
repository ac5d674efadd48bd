//! Redis Streams.
//!
//! *Copying*: a stream for each member; a message is added to all of them. *Log*: a stream for each conversation; a
//! member holds the id that it has got to in each, and one `XREAD` asks for all of its conversations.
//!
//! Tuned: no snapshots and no rewriting of the append-only file while it is measured, both in Redis's favour. Commands
//! go out in pipelines of the whole window. `appendfsync always` is one sync for all that arrived in a turn of the event
//! loop. I/O threads are left off: with two cores they take from the client what they give to the server. The connection
//! is plain TCP; answers are taken as the client's raw values, without its typed replies, which cost more.

use super::job::{Job, Outgoing, Seen, Source, reader_name, sender_name};
use super::measure::{Contestant, Durability, Layout, Setup, shares};
use super::server::{Server, disk_bytes, find, free_port};
use crate::context::Failure;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Names the server's program.
pub(crate) const VARIABLE: &str = "HIGHWATER_REDIS_SERVER";
const CONNECTIONS: usize = 16;
/// Members whose reads go out in one pipeline.
const READS_AT_ONCE: usize = 8;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn program() -> Option<PathBuf> {
    find("redis-server", VARIABLE, &[])
}

pub(crate) struct Redis {
    server: Server,
    client: Client,
    setup: Setup,
}

/// A connection, and the streams that a message to each conversation goes to.
pub(crate) struct Sender {
    connection: MultiplexedConnection,
    streams: Arc<Vec<Vec<String>>>,
}

/// A connection, and of each of its members the streams with the ids that it has got to.
pub(crate) struct Reader {
    connection: MultiplexedConnection,
    members: Vec<Vec<(String, String)>>,
}

pub(crate) fn configuration(durability: Durability) -> String {
    let appendfsync = match durability {
        Durability::Power => "always",
        Durability::Crash => "everysec",
    };
    format!("appendonly yes\nappendfsync {appendfsync}\nsave \"\"\nauto-aof-rewrite-percentage 0\n")
}

impl Redis {
    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        Ok(self.client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// The streams that a message to each conversation goes to.
    fn streams(&self) -> Vec<Vec<String>> {
        let job = &self.setup.job;
        let of = |(conversation, readers): (usize, &Vec<usize>)| match self.setup.layout {
            Layout::Log => vec![format!("c:{conversation}")],
            Layout::Copying => {
                let readers = readers.iter().map(|reader| format!("u:{}", reader_name(*reader)));
                readers.chain([format!("u:{}", sender_name(Job::sender_of(conversation)))]).collect()
            }
        };
        job.readers.iter().enumerate().map(of).collect()
    }
}

impl Contestant for Redis {
    type Sender = Sender;
    type Reader = Reader;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let program = program().ok_or("redis-server is not installed")?;
        let port = free_port()?;
        let file = setup.data.join("redis.conf");
        let data = setup.data.join("data");
        std::fs::create_dir(&data)?;
        let place = format!("bind 127.0.0.1\nport {port}\ndir {}\n", data.display());
        std::fs::write(&file, place + &configuration(setup.durability))?;
        let file = file.to_str().ok_or("the path is no text")?;
        let mut server = Server::start(&program, &[file], &setup.data.join("log"), None)?;
        server.listens(port).await?;
        let client = Client::open(("127.0.0.1", port))?;
        Ok(Self { server, client, setup: setup.clone() })
    }

    async fn senders(&self) -> Result<Vec<Sender>, Failure> {
        let streams = Arc::new(self.streams());
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            senders.push(Sender { connection: self.connect().await?, streams: Arc::clone(&streams) });
        }
        Ok(senders)
    }

    async fn send(sender: &mut Sender, source: &mut Source) -> Result<(), Failure> {
        loop {
            let batch = source.batch();
            if batch.is_empty() {
                return Ok(());
            }
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for Outgoing { conversation, body } in &batch {
                for stream in &sender.streams[*conversation] {
                    pipeline.cmd("XADD").arg(stream).arg("*").arg("b").arg(&body[..]).ignore();
                }
            }
            pipeline.exec_async(&mut sender.connection).await?;
        }
    }

    async fn readers(&self) -> Result<Vec<(Reader, Vec<usize>)>, Failure> {
        let memberships = self.setup.job.memberships();
        let mut readers = Vec::new();
        for share in shares(CONNECTIONS) {
            let mut connection = self.connect().await?;
            let mut members = Vec::new();
            for reader in &share {
                let streams: Vec<String> = match self.setup.layout {
                    Layout::Copying => vec![format!("u:{}", reader_name(*reader))],
                    Layout::Log => memberships[*reader].iter().map(|index| format!("c:{index}")).collect(),
                };
                let mut pipeline = Pipeline::new();
                for stream in &streams {
                    pipeline.cmd("XREVRANGE").arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
                }
                let last: Vec<Value> = pipeline.query_async(&mut connection).await?;
                let ids = last.iter().map(|entries| match entries {
                    Value::Array(entries) => entries.first().and_then(entry).map(|(id, _)| id),
                    _ => None,
                });
                let ids: Option<Vec<String>> = ids.collect();
                members.push(streams.into_iter().zip(ids.ok_or("a stream is empty")?).collect());
            }
            readers.push((Reader { connection, members }, share));
        }
        Ok(readers)
    }

    async fn catch_up(reader: &mut Reader, seen: &mut [Seen]) -> Result<(), Failure> {
        let members = reader.members.chunks_mut(READS_AT_ONCE).zip(seen.chunks_mut(READS_AT_ONCE));
        for (members, seen) in members {
            let mut pipeline = Pipeline::with_capacity(members.len());
            for streams in members.iter() {
                let names = streams.iter().map(|(stream, _)| stream);
                let ids = streams.iter().map(|(_, id)| id);
                let read = pipeline.cmd("XREAD").arg("STREAMS");
                names.chain(ids).for_each(|argument| _ = read.arg(argument));
            }
            let replies: Vec<Value> = pipeline.query_async(&mut reader.connection).await?;
            for ((reply, streams), seen) in replies.iter().zip(members).zip(seen) {
                let Value::Array(read) = reply else { return Err("an answer to XREAD is no list".into()) };
                for stream in read {
                    take(stream, streams, seen)?;
                }
            }
        }
        Ok(())
    }

    async fn entries(&self) -> Result<Option<u64>, Failure> {
        let mut connection = self.connect().await?;
        let mut streams: Vec<String> = self.streams().into_iter().flatten().collect();
        streams.sort_unstable();
        streams.dedup();
        let mut pipeline = Pipeline::new();
        for stream in &streams {
            pipeline.cmd("XLEN").arg(stream);
        }
        let lengths: Vec<u64> = pipeline.query_async(&mut connection).await?;
        Ok(Some(lengths.iter().sum()))
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stop(self) -> Result<u64, Failure> {
        self.server.stop("TERM").await?;
        Ok(disk_bytes(&self.setup.data.join("data"), ""))
    }
}

/// An entry's id and its only value.
fn entry(entry: &Value) -> Option<(String, &[u8])> {
    let Value::Array(entry) = entry else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = &entry[..] else { return None };
    let [_, Value::BulkString(body)] = &fields[..] else { return None };
    Some((String::from_utf8_lossy(id).into_owned(), body))
}

/// What came of one stream: every entry is seen, and the position moves to the last.
fn take(stream: &Value, positions: &mut [(String, String)], seen: &mut Seen) -> Result<(), Failure> {
    let Value::Array(parts) = stream else { return Err("a stream's part of XREAD is no list".into()) };
    let [Value::BulkString(name), Value::Array(entries)] = &parts[..] else {
        return Err("a stream's part of XREAD is no pair".into());
    };
    for read in entries {
        let Value::Array(pair) = read else { return Err("an entry is no list".into()) };
        let [_, Value::Array(fields)] = &pair[..] else { return Err("an entry is no pair".into()) };
        let [_, Value::BulkString(body)] = &fields[..] else { return Err("an entry is not as it was added".into()) };
        seen.take(body)?;
    }
    let position = positions.iter_mut().find(|(stream, _)| stream.as_bytes() == &name[..]);
    if let (Some((_, position)), Some((id, _))) = (position, entries.last().and_then(entry)) {
        *position = id;
    }
    Ok(())
}
