//! PostgreSQL.
//!
//! *Copying*: a table of messages, and a table `inbox` with a row for each member of each message, made by the server
//! from its table of members; a body is stored once. *Log*: a table of messages by conversation; a member holds the id
//! that it has got to in each.
//!
//! Tuned: one statement for a whole window of messages (arrays, `unnest`), so one commit and one round trip for all of
//! them; statements are prepared; no index but the primary keys; no foreign keys. Copies are made by the server, which
//! beats `COPY` from outside: only the messages cross the network. Ids come from one sequence instead of a counter in
//! each conversation's row, which would cost an update per message; that a later id may be committed earlier, which a
//! reader's single position would stumble over, is ignored in PostgreSQL's favour. A quarter of the usual memory goes to
//! `shared_buffers`; no checkpoint falls into a measurement; the write-ahead log is as small as it may be without
//! replicas. Before reading, the tables are analyzed. The connection is plain TCP.

use super::job::{Job, READERS, SENDERS, Seen, Source};
use super::measure::{Contestant, Durability, Layout, Setup, shares};
use super::server::{Account, Server, disk_bytes, find, free_port};
use crate::context::Failure;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

/// Names the server's program.
pub(crate) const VARIABLE: &str = "HIGHWATER_POSTGRES";
const CONNECTIONS: usize = 16;
/// How long a server may take from listening to being ready.
const START_MAX: Duration = Duration::from_secs(60);
/// Accounts that the server may run as where this program is root, which it refuses.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

pub(crate) fn program() -> Option<PathBuf> {
    // Debian keeps the programs of each version apart, and off the path.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin/postgres")).collect();
    versions.sort_unstable();
    versions.reverse();
    find("postgres", VARIABLE, &versions)
}

pub(crate) fn configuration(durability: Durability) -> String {
    let synchronous_commit = match durability {
        Durability::Power => "on",
        Durability::Crash => "off",
    };
    format!(
        "synchronous_commit = {synchronous_commit}
shared_buffers = 1GB
wal_buffers = 64MB
max_wal_size = 16GB
checkpoint_timeout = 30min
wal_level = minimal
max_wal_senders = 0
jit = off
"
    )
}

pub(crate) struct Postgres {
    server: Server,
    port: u16,
    setup: Setup,
    /// Where the server's account may go; the setup's directory may lie behind doors that are closed to it.
    data: TempDir,
}

pub(crate) struct Sender {
    client: Client,
    insert: Statement,
    author: i32,
}

pub(crate) struct Reader {
    client: Client,
    read: Statement,
    layout: Layout,
    /// Of each member its conversations (one made-up one where a member has one inbox), and the ids that it has got to.
    members: Vec<Positions>,
}

struct Positions {
    reader: i32,
    conversations: Vec<i32>,
    ids: Vec<i64>,
}

impl Postgres {
    async fn connect(&self) -> Result<Client, Failure> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname("postgres");
        let began = Instant::now();
        let (client, connection) = loop {
            match config.connect(NoTls).await {
                // It listens before it is ready.
                Err(error) if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) && began.elapsed() < START_MAX => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                connected => break connected?,
            }
        };
        // It ends with the client; what goes wrong reaches whoever waits for an answer.
        tokio::spawn(connection);
        Ok(client)
    }

    async fn make_tables(&self) -> Result<(), Failure> {
        let client = self.connect().await?;
        match self.setup.layout {
            Layout::Log => {
                let tables = "CREATE TABLE message (conversation int NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY,
                    author int NOT NULL, body bytea NOT NULL, PRIMARY KEY (conversation, id))";
                client.batch_execute(tables).await?;
            }
            Layout::Copying => {
                let tables = "CREATE TABLE message (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                        conversation int NOT NULL, author int NOT NULL, body bytea NOT NULL);
                    CREATE TABLE membership (conversation int, member int, PRIMARY KEY (conversation, member));
                    CREATE TABLE inbox (member int, id bigint, PRIMARY KEY (member, id))";
                client.batch_execute(tables).await?;
                let (conversations, members) = memberships(&self.setup.job);
                let insert = "INSERT INTO membership SELECT * FROM unnest($1::int[], $2::int[])";
                client.execute(insert, &[&conversations, &members]).await?;
                client.batch_execute("ANALYZE membership").await?;
            }
        }
        Ok(())
    }
}

/// All memberships, senders included.
fn memberships(job: &Job) -> (Vec<i32>, Vec<i32>) {
    let pairs = job.readers.iter().enumerate().flat_map(|(conversation, readers)| {
        let members = readers.iter().copied().chain([READERS + Job::sender_of(conversation)]);
        members.map(move |member| (conversation as i32, member as i32))
    });
    pairs.unzip()
}

impl Contestant for Postgres {
    type Sender = Sender;
    type Reader = Reader;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let program = program().ok_or("postgresql is not installed")?;
        let account = account()?;
        let data = reachable(&setup.data, account)?;
        let cluster = data.path().join("cluster");
        let initdb = program.with_file_name("initdb");
        let mut command = Command::new(initdb);
        command.args(["--no-sync", "--auth", "trust", "--username", "postgres", "--encoding", "UTF8"]);
        command.args(["--locale", "C", "--pgdata"]).arg(&cluster).current_dir("/");
        if let Some(account) = account {
            command.uid(account.user).gid(account.group);
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let port = free_port()?;
        let place = format!("listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n");
        let file = cluster.join("postgresql.conf");
        std::fs::write(&file, place + &configuration(setup.durability))?;
        let directory = cluster.to_str().ok_or("the path is no text")?;
        let mut server = Server::start(&program, &["-D", directory], &setup.data.join("log"), account)?;
        server.listens(port).await?;
        let started = Self { server, port, setup: setup.clone(), data };
        started.make_tables().await?;
        Ok(started)
    }

    async fn senders(&self) -> Result<Vec<Sender>, Failure> {
        let insert = match self.setup.layout {
            Layout::Log => {
                "INSERT INTO message (conversation, author, body)
                    SELECT conversation, $2::int, body FROM unnest($1::int[], $3::bytea[]) AS new (conversation, body)"
            }
            Layout::Copying => {
                "WITH sent AS (INSERT INTO message (conversation, author, body)
                        SELECT conversation, $2::int, body FROM unnest($1::int[], $3::bytea[]) AS new (conversation, body)
                        RETURNING id, conversation)
                    INSERT INTO inbox (member, id) SELECT member, id FROM sent JOIN membership USING (conversation)"
            }
        };
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let client = self.connect().await?;
            let insert = client.prepare(insert).await?;
            senders.push(Sender { client, insert, author: (READERS + sender) as i32 });
        }
        Ok(senders)
    }

    async fn send(sender: &mut Sender, source: &mut Source) -> Result<(), Failure> {
        loop {
            let batch = source.batch();
            if batch.is_empty() {
                return Ok(());
            }
            let conversations: Vec<i32> = batch.iter().map(|outgoing| outgoing.conversation as i32).collect();
            let bodies: Vec<&[u8]> = batch.iter().map(|outgoing| &outgoing.body[..]).collect();
            sender.client.execute(&sender.insert, &[&conversations, &sender.author, &bodies]).await?;
        }
    }

    async fn readers(&self) -> Result<Vec<(Reader, Vec<usize>)>, Failure> {
        let read = match self.setup.layout {
            Layout::Log => {
                "SELECT new.id, new.conversation, new.body FROM unnest($1::int[], $2::bigint[]) AS held (conversation, id)
                    CROSS JOIN LATERAL (SELECT * FROM message WHERE message.conversation = held.conversation
                        AND message.id > held.id ORDER BY message.id) AS new"
            }
            Layout::Copying => {
                "SELECT id, conversation, body FROM inbox JOIN message USING (id)
                    WHERE inbox.member = $1 AND inbox.id > $2 ORDER BY inbox.id"
            }
        };
        let first = self.connect().await?;
        first.batch_execute("ANALYZE").await?;
        let end: i64 = first.query_one("SELECT max(id) FROM message", &[]).await?.get(0);
        let memberships = self.setup.job.memberships();
        let mut readers = Vec::new();
        for share in shares(CONNECTIONS) {
            let client = self.connect().await?;
            let read = client.prepare(read).await?;
            let members = share.iter().map(|reader| {
                let conversations: Vec<i32> = match self.setup.layout {
                    Layout::Log => memberships[*reader].iter().map(|index| *index as i32).collect(),
                    Layout::Copying => vec![0],
                };
                Positions { reader: *reader as i32, ids: vec![end; conversations.len()], conversations }
            });
            let members = members.collect();
            readers.push((Reader { client, read, layout: self.setup.layout, members }, share));
        }
        Ok(readers)
    }

    async fn catch_up(reader: &mut Reader, seen: &mut [Seen]) -> Result<(), Failure> {
        for (member, seen) in reader.members.iter_mut().zip(seen) {
            let rows = match reader.layout {
                Layout::Log => reader.client.query(&reader.read, &[&member.conversations, &member.ids]).await?,
                Layout::Copying => reader.client.query(&reader.read, &[&member.reader, &member.ids[0]]).await?,
            };
            for row in &rows {
                let (id, conversation) = (row.get::<_, i64>(0), row.get::<_, i32>(1));
                seen.take(row.get(2))?;
                let place = member.conversations.iter().position(|known| *known == conversation).unwrap_or(0);
                member.ids[place] = id;
            }
        }
        Ok(())
    }

    async fn entries(&self) -> Result<Option<u64>, Failure> {
        let count = match self.setup.layout {
            Layout::Log => "SELECT count(*) FROM message",
            Layout::Copying => "SELECT count(*) FROM inbox",
        };
        let count: i64 = self.connect().await?.query_one(count, &[]).await?.get(0);
        Ok(Some(count as u64))
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stop(self) -> Result<u64, Failure> {
        // "Fast": clients are cut off, everything is written.
        self.server.stop("INT").await?;
        Ok(disk_bytes(self.data.path(), "pg_wal"))
    }
}

/// As whom the server runs: `None` for as whoever runs this program.
fn account() -> Result<Option<Account>, Failure> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let find = |name: &&str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(*name))?;
        let mut fields = line.split(':').skip(2);
        Some(Account { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
    };
    let found = ACCOUNTS.iter().find_map(find);
    Ok(Some(found.ok_or("there is no account that postgres could run as; it refuses to run as root")?))
}

/// An empty directory that the account may enter, on the same disk as `data`.
fn reachable(data: &Path, account: Option<Account>) -> Result<TempDir, Failure> {
    let Some(account) = account else { return Ok(tempfile::tempdir_in(data)?) };
    let is_open = |directory: &Path| {
        directory.ancestors().all(|place| place.metadata().is_ok_and(|about| about.mode() & 0o001 != 0))
    };
    let disk = data.metadata()?.dev();
    let candidates = [data, Path::new("/var/tmp"), Path::new("/tmp")];
    let usable = candidates
        .into_iter()
        .find(|candidate| is_open(candidate) && candidate.metadata().is_ok_and(|about| about.dev() == disk));
    let usable = usable.ok_or("no directory of that disk is open to the account that postgres runs as; see --out")?;
    let directory = tempfile::Builder::new().prefix("highwater-postgres-").tempdir_in(usable)?;
    chown(directory.path(), Some(account.user), Some(account.group))?;
    Ok(directory)
}
