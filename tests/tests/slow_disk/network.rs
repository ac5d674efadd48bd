//! The same over the network: a server on a slow disk, and clients that queue what it does not take.

use crate::gate::{Gate, GatedDisk, OpenAtEnd};
use crate::{PATIENCE, alone, resident_bytes};
use highwater_client::{
    CertificateHash, Client, ClientBuilder, Code, Content, Event, Kind, Message, NewConversation, SessionKind,
    SubscribeOptions, Trust,
};
use highwater_engine::proto::limits::Limits;
use highwater_engine::{Engine, Options};
use highwater_server::{Config, Server};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

const SENDERS: usize = 12;
const PER_SENDER: u64 = 2_000;
const BODY_BYTES: usize = 4 << 10;
const QUEUE_BYTES_MAX: usize = 2 << 20;
/// What a client queues itself; above, the application waits.
const OUTGOING_BYTES_MAX: usize = 512 << 10;
/// Three times what the engine queues; of each session the client's queue, as commands and as frames, and what the
/// server has read of it; and what runtime, index and allocator take.
const RESIDENT_BYTES_MAX: u64 = 3 * QUEUE_BYTES_MAX as u64 + 3 * (SENDERS * OUTGOING_BYTES_MAX) as u64 + (16 << 20);
const OFFERED_BYTES: u64 = SENDERS as u64 * PER_SENDER * BODY_BYTES as u64;
const _: () = assert!(OFFERED_BYTES > 2 * RESIDENT_BYTES_MAX, "what does not wait with its sender would be seen");

/// What the clients of a server in dev mode know of it.
struct Site {
    address: String,
    trust: Trust,
    key: EncodingKey,
}

impl Site {
    fn of(data: &Path, server: &Server) -> Self {
        let read = |name: &str| std::fs::read(data.join("dev").join(name)).unwrap();
        Self {
            address: server.local_address().to_string(),
            trust: Trust::Pinned(vec![CertificateHash::of_pem(&read("certificate.pem")).unwrap()]),
            key: EncodingKey::from_ed_pem(&read("signing-key.pem")).unwrap(),
        }
    }

    fn builder(&self, user: &str) -> ClientBuilder {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = serde_json::json!({"sub": user, "aud": "highwater", "exp": now_s + 3_600});
        let header = Header { kid: Some("dev".to_owned()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).unwrap();
        Client::builder(&self.address).trust(self.trust.clone()).token(token)
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

/// What the senders have seen.
#[derive(Default)]
struct Seen {
    acknowledged: watch::Sender<u64>,
    /// Senders whose client's queue is full.
    full: watch::Sender<usize>,
    /// Times at which a client was told that the engine's queue is full.
    busy: AtomicU64,
}

/// Sends all of a sender's messages; where the client's queue is full, waits for the first receipt.
async fn send_all(client: Client, seen: Arc<Seen>) {
    let mut waiting = std::collections::VecDeque::new();
    for number in 1..=PER_SENDER {
        let mut body = vec![b'x'; BODY_BYTES];
        body[..8].copy_from_slice(&number.to_le_bytes());
        let mut was_full = false;
        let sending = loop {
            match client.enqueue(highwater_client::Numbered::Send(Message::to_conversation("g", body.clone()))).await {
                Ok(sending) => break sending,
                Err(error) => assert_eq!(error.limit.as_deref(), Some("outgoing_bytes_max"), "{error}"),
            }
            if !std::mem::replace(&mut was_full, true) {
                seen.full.send_modify(|full| *full += 1);
            }
            first_receipt(&client, &mut waiting, &seen).await;
        };
        if was_full {
            seen.full.send_modify(|full| *full -= 1);
        }
        waiting.push_back(sending);
    }
    while !waiting.is_empty() {
        first_receipt(&client, &mut waiting, &seen).await;
    }
    client.close().await;
}

async fn first_receipt(
    client: &Client,
    waiting: &mut std::collections::VecDeque<highwater_client::Sending>,
    seen: &Seen,
) {
    let mut sending = waiting.pop_front().expect("what fills the queue is waited for");
    let mut is_told = false;
    loop {
        tokio::select! {
            receipt = sending.receipt() => {
                assert!(!receipt.unwrap().repeated);
                return seen.acknowledged.send_modify(|count| *count += 1);
            }
            error = client.held_up(), if !is_told => {
                assert_eq!((error.code, error.limit.as_deref()), (Code::Busy, Some("queue_bytes_max")), "{error}");
                seen.busy.fetch_add(1, Ordering::Relaxed);
                is_told = true;
            }
        }
    }
}

#[test]
fn a_slow_disk_slows_clients_down_and_fills_no_memory() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(play());
    runtime.shutdown_timeout(Duration::from_secs(5));
}

async fn play() {
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let options = Options {
        limits: Limits { queue_bytes_max: QUEUE_BYTES_MAX, ..Limits::default() },
        create_named_users: true,
        disk: Some(GatedDisk::new(&directory.path().join("log"), &gate)),
        // The newest records are kept on purpose, and are not what is watched here.
        tail_bytes_max: 1 << 20,
        ..Options::default()
    };
    let engine = Engine::open(directory.path(), options).unwrap();
    let _end = OpenAtEnd(Arc::clone(&gate));
    let config = Config::dev(directory.path(), ([127, 0, 0, 1], 0).into());
    let server = Server::serve(&config, engine).unwrap();
    let site = Site::of(directory.path(), &server);
    let reader = soon("a session", site.builder(&user(0)).connect()).await.unwrap();
    let group = NewConversation {
        id: Some("g".to_owned()),
        members: (1..SENDERS).map(user).collect(),
        ..NewConversation::new(Kind::Group)
    };
    soon("the group", reader.create(group)).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..SENDERS {
        let builder = site.builder(&user(number)).session(SessionKind::Send).device("d");
        let client = builder.outgoing_limits(10_000, OUTGOING_BYTES_MAX).connect();
        clients.push(soon("a session", client).await.unwrap());
    }

    let before_bytes = resident_bytes();
    gate.shut();
    let first_sync = gate.passed();
    let seen = Arc::new(Seen::default());
    let senders: Vec<_> = clients.into_iter().map(|client| tokio::spawn(send_all(client, Arc::clone(&seen)))).collect();
    let mut full = seen.full.subscribe();
    soon("the limit of every client", full.wait_for(|full| *full == SENDERS)).await.unwrap();
    assert_eq!(*seen.acknowledged.borrow(), 0, "nothing is durable");
    let full_bytes = resident_bytes().saturating_sub(before_bytes);

    // Sync by sync; what the engine refuses stays with the clients, which try again.
    const SYNCS: u64 = 12;
    let mut acknowledged = seen.acknowledged.subscribe();
    let mut most_bytes = full_bytes;
    let mut count = 0;
    for syncs in 1..=SYNCS {
        gate.allow_one();
        let held = Arc::clone(&gate);
        tokio::task::spawn_blocking(move || held.wait_held(first_sync + syncs)).await.unwrap();
        count = *soon("what was synced", acknowledged.wait_for(|now| *now > count)).await.unwrap();
        let most = syncs * ((1 << 20) / BODY_BYTES as u64 + 1);
        assert!(count <= most, "{count} acknowledged after {syncs} syncs");
        most_bytes = most_bytes.max(resident_bytes().saturating_sub(before_bytes));
    }
    let busy = seen.busy.load(Ordering::Relaxed);
    gate.open();
    for sender in senders {
        soon("a sender's end", sender).await.unwrap();
        most_bytes = most_bytes.max(resident_bytes().saturating_sub(before_bytes));
    }
    println!(
        "queue {QUEUE_BYTES_MAX} bytes; {count} acknowledged after {SYNCS} syncs, {busy} times busy; resident memory above \
         the beginning: {full_bytes} bytes with full queues, {most_bytes} at most"
    );
    assert!(busy > 0, "the engine's queue was never full");
    assert!(most_bytes <= RESIDENT_BYTES_MAX, "{most_bytes} bytes are resident, above {RESIDENT_BYTES_MAX}");
    assert_complete(&reader).await;
    reader.close().await;
    soon("the server's end", server.shutdown()).await.unwrap();
}

/// Every message is there exactly once, each sender's in order.
async fn assert_complete(reader: &Client) {
    let mut subscription = reader.subscribe(SubscribeOptions { live: false, ..SubscribeOptions::default() });
    let mut next = [1u64; SENDERS];
    while let Some(event) = soon("an event", subscription.next()).await {
        let Event::Record(record) = event.unwrap() else { continue };
        let Content::Message(text) = &record.content else { continue };
        let from = record.from.as_ref().and_then(|from| from.strip_prefix("user-")).unwrap();
        let next = &mut next[from.parse::<usize>().unwrap()];
        assert_eq!(text.body.as_ref().unwrap()[..8], next.to_le_bytes(), "from {from}");
        *next += 1;
    }
    assert_eq!(next, [PER_SENDER + 1; SENDERS]);
}
