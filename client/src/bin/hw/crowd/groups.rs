//! Makes groups without an owner, with all their members, by a service, before anything is sent.
//!
//! Everything here may be repeated, and is repeated after a break: what stands already changes nothing.

use super::SILENCE_MAX;
use super::progress::Progress;
use crate::failure::Failure;
use highwater_client::{Change, Client, Error, Fanout, Kind, NewConversation, SettingsChange};
use highwater_proto::limits::MEMBERS_PER_CHANGE_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Things that are made at a time; each one's changes wait for each other.
const AT_A_TIME: usize = 64;
/// Pause before a command is repeated that may succeed later.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A group to be made.
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) members: Vec<String>,
    /// How its messages are fanned out; `None`: as the server chooses.
    pub(crate) fanout: Option<Fanout>,
}

/// Makes groups 0 to `count`, as `describe` says; `service` has a service's token.
pub(crate) async fn make(
    service: &Client,
    count: usize,
    describe: impl Fn(usize) -> Group + Send + Sync + 'static,
    progress: Progress,
) -> Result<(), Failure> {
    let service = service.clone();
    let describe = Arc::new(describe);
    each(count, progress, move |number| {
        let (service, describe) = (service.clone(), Arc::clone(&describe));
        async move { group(&service, describe(number)).await }
    })
    .await
}

/// Makes users known. Where tokens are minted they come into being by themselves.
pub(crate) async fn make_users(
    service: &Client,
    count: usize,
    name: impl Fn(usize) -> String + Send + Sync + 'static,
    progress: Progress,
) -> Result<(), Failure> {
    let service = service.clone();
    let name = Arc::new(name);
    each(count, progress, move |number| {
        let (service, name) = (service.clone(), Arc::clone(&name));
        async move {
            let name = name(number);
            persist(|| service.create_user(&name)).await.map(drop)
        }
    })
    .await
}

/// Does something for each number below `count`, many at a time.
async fn each<F>(
    count: usize,
    mut progress: Progress,
    work: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let (done, mut made) = mpsc::channel(AT_A_TIME);
    // Dropped with an error, they all end.
    let mut workers = JoinSet::new();
    for _ in 0..AT_A_TIME.min(count) {
        let (work, next, done) = (work.clone(), Arc::clone(&next), done.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count || done.send(work(number).await).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(done);
    while let Some(result) = made.recv().await {
        result?;
        progress.advance();
    }
    Ok(())
}

async fn group(service: &Client, group: Group) -> Result<(), Failure> {
    let Group { id, members, fanout } = group;
    let mut parts = members.chunks(MEMBERS_PER_CHANGE_MAX);
    let first = parts.next().unwrap_or_default();
    let created = persist(|| {
        service.create(NewConversation {
            id: Some(id.clone()),
            members: first.to_vec(),
            ..NewConversation::new(Kind::Group)
        })
    })
    .await?;
    if matches!(created, Change::Unchanged { .. }) && !first.is_empty() {
        // Whoever made it may have named others.
        persist(|| service.add(&id, first.to_vec())).await?;
    }
    for part in parts {
        persist(|| service.add(&id, part.to_vec())).await?;
    }
    if fanout.is_some() {
        persist(|| service.settings(&id, SettingsChange { fanout, ..SettingsChange::default() })).await?;
    }
    Ok(())
}

/// Repeats a command that is idempotent by state, until it is answered or too much time has passed.
async fn persist<F: Future<Output = Result<Change, Error>>>(mut command: impl FnMut() -> F) -> Result<Change, Failure> {
    let until = Instant::now() + SILENCE_MAX;
    loop {
        match command().await {
            Ok(change) => return Ok(change),
            Err(error) if error.is_retryable() && Instant::now() < until => tokio::time::sleep(RETRY_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}
