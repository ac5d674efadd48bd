//! An application that writes inside the library's store transaction takes each event once, however often it is killed.
//!
//! The application is this very test binary, run as a child: it reads as bob and writes what it reads into a table
//! beside the checkpoint. The table forbids nothing, so that whatever came twice would stand there twice.

use crate::fixture::{PATIENCE, Server, Site, all_texts, soon, text};
use highwater_client::{Code, Error, Event, Message, Numbered, SqliteCheckpoints, SubscribeOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

const CHILD: &str = "HIGHWATER_SYSTEM_CHILD";
const ADDRESS: &str = "HIGHWATER_SYSTEM_ADDRESS";
/// Before each line that the child prints for its parent: the test harness prints lines of its own.
const MARK: &str = "committed up to ";

fn open(directory: &Path) -> SqliteCheckpoints {
    let mut store = SqliteCheckpoints::open(directory.join("inbox.sqlite")).unwrap();
    let table = "CREATE TABLE IF NOT EXISTS inbox (row INTEGER PRIMARY KEY, position INTEGER, text TEXT)";
    store.connection().execute_batch(table).unwrap();
    store
}

/// The application. Without its parent it is no test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn application() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let directory = Path::new(&directory);
    let site = Site { data: directory.join("data"), address: std::env::var(ADDRESS).unwrap().parse().unwrap() };
    let client = site.reader("bob").await;
    let options = SubscribeOptions { records_max: 7, ..Default::default() };
    let mut subscription = client.subscribe_with(options, open(directory));
    loop {
        let batch = subscription.next_batch().await.unwrap().expect("it is live");
        let last = batch.commit_with(|transaction, events| {
            let mut last = 0;
            for event in events {
                match event {
                    Event::Record(record) => {
                        let row = (record.position as i64, text(record));
                        transaction
                            .execute("INSERT INTO inbox (position, text) VALUES (?1, ?2)", row)
                            .map_err(|error| Error::new(Code::Io, error.to_string()))?;
                    }
                    Event::Checkpoint { to, .. } => last = *to,
                    _ => {}
                }
            }
            Ok::<_, Error>(last)
        });
        println!("{MARK}{}", last.unwrap());
    }
}

/// Runs the application until it has committed so often, or up to this position, and kills it.
fn run_and_kill(server: &Server, commits: usize, position: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exactly_once::application", "--nocapture", "--test-threads=1"])
        .env(CHILD, server.scratch())
        .env(ADDRESS, server.address.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (tell, told) = mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Some(position) = line.split(MARK).nth(1).and_then(|text| text.parse::<u64>().ok()) else { continue };
            if tell.send(position).is_err() {
                return;
            }
        }
    });
    let mut reached = 0;
    for _ in 0..commits {
        reached = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no commit: {:?}", child.try_wait()));
        if reached >= position {
            break;
        }
    }
    // Whatever it is doing just now.
    child.kill().unwrap();
    child.wait().unwrap();
    reached
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_taken_once_over_kills_of_the_application() {
    const KILLS: usize = 8;
    const MESSAGES: usize = 1_500;
    let server = Server::start();
    server.group("g", &["ann", "bob"]).await;
    let ann = server.sender("ann", "phone").await;
    let writer = tokio::spawn(async move {
        let mut position = 0;
        let mut sendings = Vec::new();
        for number in 0..MESSAGES {
            let command = Numbered::Send(Message::to_conversation("g", number.to_string()));
            sendings.push(ann.enqueue(command).await.unwrap());
        }
        for mut sending in sendings {
            position = soon("a receipt", sending.receipt()).await.unwrap().position;
        }
        position
    });
    let mut reached = 0;
    for kill in 0..KILLS {
        reached = tokio::task::block_in_place(|| run_and_kill(&server, 3 + 2 * kill, u64::MAX));
    }
    let last = soon("the last receipt", writer).await.unwrap();
    assert!(reached < last, "it was killed in the middle");
    tokio::task::block_in_place(|| run_and_kill(&server, usize::MAX, last));

    let mut store = open(server.scratch());
    let mut statement =
        store.connection().prepare("SELECT text FROM inbox WHERE text IS NOT NULL ORDER BY row").unwrap();
    let taken: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(taken, expected);
    assert_eq!(all_texts(&server, "bob").await, expected);
}
