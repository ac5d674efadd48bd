//! A server process, clients of it, and waiting with an end.

use highwater_client::{
    Backoff, CertificateHash, CheckpointStore, Client, ClientBuilder, ConnectionState, Content, Error, Event, Kind,
    NewConversation, Record, SessionKind, SubscribeOptions, Subscription, Trust,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; what takes longer will never come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A token is taken until this long after its `exp`.
const LEEWAY_MS: u64 = 5_000;

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// A program of this workspace, which stands above this test's own `deps` directory.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    let how = "cargo build --release --workspace --bins";
    assert!(path.is_file(), "{} is missing; `{how}` makes it, with the target directory of this test", path.display());
    path
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Where a server in dev mode is, as its clients know it.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) data: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Site {
    fn trust(&self) -> Trust {
        Trust::Pinned(vec![self.pin()])
    }

    /// By which the server's certificate is known.
    pub(crate) fn pin(&self) -> CertificateHash {
        CertificateHash::of_pem(&self.dev_file("certificate.pem")).unwrap()
    }

    /// A file that the server made for those on its machine.
    pub(crate) fn dev_file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.data.join("dev").join(name)).unwrap()
    }

    /// Signs claims with the server's own key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let key = EncodingKey::from_ed_pem(&self.dev_file("signing-key.pem")).unwrap();
        sign_with(&key, "dev", claims)
    }

    /// A user's token for an hour.
    pub(crate) fn token(&self, user: &str) -> String {
        self.token_until(user, now_ms() + 3_600_000)
    }

    /// A user's token that is refused from this time on.
    pub(crate) fn token_until(&self, user: &str, end_ms: u64) -> String {
        let exp = end_ms.saturating_sub(LEEWAY_MS) as f64 / 1000.0;
        self.sign(&json!({"sub": user, "aud": "highwater", "exp": exp}))
    }

    pub(crate) fn service_token(&self) -> String {
        self.sign(&json!({"sub": "tests", "aud": "highwater", "scope": "service", "exp": now_ms() / 1000 + 3_600}))
    }

    /// A client without a token yet.
    pub(crate) fn anonymous(&self) -> ClientBuilder {
        let backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_millis(500) };
        Client::builder(self.address.to_string()).trust(self.trust()).backoff(backoff)
    }

    pub(crate) fn builder(&self, user: &str) -> ClientBuilder {
        self.anonymous().token(self.token(user))
    }

    /// A client that reads.
    pub(crate) async fn reader(&self, user: &str) -> Client {
        soon("a session to read", self.builder(user).connect()).await.unwrap()
    }

    /// A description of a client that sends.
    pub(crate) fn sending(&self, user: &str, device: &str) -> ClientBuilder {
        self.builder(user).session(SessionKind::Send).device(device).outgoing_limits(100_000, 256 << 20)
    }

    /// A client that sends.
    pub(crate) async fn sender(&self, user: &str, device: &str) -> Client {
        soon("a session to send", self.sending(user, device).connect()).await.unwrap()
    }

    /// A client with a service token, in nobody's name.
    pub(crate) async fn service(&self) -> Client {
        soon("a service session", self.anonymous().token(self.service_token()).connect()).await.unwrap()
    }

    /// A group of these, the first of whom owns it.
    pub(crate) async fn group(&self, id: &str, members: &[&str]) {
        let new = NewConversation {
            id: Some(id.to_owned()),
            members: members[1..].iter().map(|member| (*member).to_owned()).collect(),
            ..NewConversation::new(Kind::Group)
        };
        soon("the group", self.reader(members[0]).await.create(new)).await.unwrap();
    }
}

pub(crate) fn sign_with(key: &EncodingKey, kid: &str, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// A port that stays free while a server is away: the system gives those above to the clients of other tests.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(101).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + (number % 10_000) as u16;
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server process in a directory of its own. It is killed when this is dropped.
pub(crate) struct Server {
    pub(crate) site: Site,
    child: Option<Child>,
    directory: TempDir,
}

impl std::ops::Deref for Server {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Server {
    /// With the recommended configuration.
    pub(crate) fn start() -> Self {
        Self::with_config("")
    }

    /// With this configuration file.
    pub(crate) fn with_config(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("highwater.toml"), config).unwrap();
        let site = Site { data: directory.path().join("data"), address: ([127, 0, 0, 1], free_port()).into() };
        let mut server = Self { site, child: None, directory };
        server.restart();
        server
    }

    /// A place for a test's own files, above the server's data directory.
    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it again, where it was, and waits until it takes connections.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = std::fs::File::options().append(true).create(true).open(self.log()).unwrap();
        let mut child = Command::new(program("highwater"))
            .args(["serve", "--dev", "--listen", &self.site.address.to_string(), "--data"])
            .arg(&self.site.data)
            .arg("--config")
            .arg(self.directory.path().join("highwater.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test may have gone on, or failed.
                let _ = tell.send(line);
            }
        });
        let line = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it is not ready: {}", self.log_text()));
        self.site.address = line.strip_prefix("ready ").unwrap().parse().unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, without waiting for what comes of it.
    pub(crate) fn terminate(&self) {
        // It was not waited for, so that its number is still its own.
        send_signal(self.pid(), libc::SIGTERM);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        soon("the server's end", tokio::task::spawn_blocking(move || child.wait())).await.unwrap().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Memory that is its own (what it maps of files is the system's to take back), in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }

    /// Runs a subcommand of `highwater` on the data directory.
    fn offline(&self, subcommand: &str) -> Output {
        Command::new(program("highwater")).arg(subcommand).arg("--data").arg(&self.site.data).output().unwrap()
    }

    /// The store of a server that does not run is sound, and as many epochs have begun as are expected.
    pub(crate) fn check_store(&self, epoch: u32) {
        assert!(self.child.is_none(), "it runs");
        let verified = self.offline("verify");
        let said = String::from_utf8_lossy(&verified.stderr).into_owned() + &String::from_utf8_lossy(&verified.stdout);
        assert_eq!(verified.status.code(), Some(0), "{said}");
        let shown = String::from_utf8(self.offline("inspect").stdout).unwrap();
        assert!(shown.lines().any(|line| line == format!("epoch: {epoch}")), "{shown}");
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// What it said on standard error.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log_text());
        }
    }
}

#[expect(unsafe_code, reason = "a signal is sent to a process that this one started and has not waited for")]
pub(crate) fn send_signal(pid: u32, signal: i32) {
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    let sent = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// Waits until the client has ended for good; why it did.
pub(crate) async fn ending(client: &Client) -> Error {
    let mut states = client.state();
    soon("the session's end", async {
        loop {
            if let ConnectionState::Closed { reason } = states.current() {
                return reason.unwrap();
            }
            states.changed().await;
        }
    })
    .await
}

/// A message's text.
pub(crate) fn text(record: &Record) -> Option<String> {
    match &record.content {
        Content::Message(text) => Some(String::from_utf8(text.body.as_ref()?.to_vec()).unwrap()),
        _ => None,
    }
}

/// The next so many messages of a subscription. After a break a record may come again, but not out of order.
pub(crate) async fn messages<S: CheckpointStore>(subscription: &mut Subscription<S>, count: usize) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::with_capacity(count);
    while found.len() < count {
        let event = soon(&format!("message {} of {count}", found.len() + 1), subscription.next()).await;
        match event.expect("it goes on").unwrap() {
            Event::Record(record) if text(&record).is_some() => {
                if found.last().is_none_or(|last| last.position < record.position) {
                    found.push(record);
                } else {
                    assert!(found.contains(&record), "out of order: {record:?}");
                }
            }
            _ => {}
        }
    }
    found
}

/// The texts of everything up to where a new device has caught up.
pub(crate) async fn all_texts(site: &Site, user: &str) -> Vec<String> {
    let client = site.reader(user).await;
    let mut subscription = client.subscribe(SubscribeOptions { live: false, ..Default::default() });
    let mut found = Vec::new();
    while let Some(event) = soon("an event", subscription.next()).await {
        if let Event::Record(record) = event.unwrap() {
            found.extend(text(&record));
        }
    }
    client.close().await;
    found
}

/// Seqs without a hole, from the first one's on.
pub(crate) fn assert_contiguous(records: &[Record]) {
    for pair in records.windows(2) {
        let next = pair[0].seq.map(|seq| seq + 1);
        assert_eq!(pair[1].seq, next, "{:?} follows {:?}", pair[1], pair[0]);
        assert!(pair[0].position < pair[1].position);
    }
}
