//! Makes the conversations of a replay: groups without an owner, with all their members, before anything is sent.
//!
//! Everything here may be repeated, and is repeated after a break: what stands already changes nothing.

use super::SILENCE_MAX;
use super::plan::Plan;
use super::progress::{Progress, Style};
use crate::failure::Failure;
use highwater_client::{Change, Client, Kind, NewConversation};
use highwater_proto::error::Error;
use highwater_proto::limits::MEMBERS_PER_CHANGE_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Conversations that are made at a time; each one's changes wait for each other.
const AT_A_TIME: usize = 64;
/// Pause before a command is repeated that may succeed later.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Makes all conversations of the plan; `service` has a service's token.
pub(crate) async fn conversations(service: &Client, plan: &Arc<Plan>, style: Style) -> Result<(), Failure> {
    let mut progress = Progress::new(style, "conversations", plan.source.conversations.len() as u64);
    let next = Arc::new(AtomicUsize::new(0));
    let (done, mut made) = mpsc::channel(AT_A_TIME);
    let mut workers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (service, plan, next, done) = (service.clone(), Arc::clone(plan), Arc::clone(&next), done.clone());
        workers.spawn(async move {
            while plan.source.conversations.len() > next.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.source.conversations.len() {
                    break;
                }
                let result = conversation(&service, &plan, number).await;
                if done.send(result).await.is_err() {
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

async fn conversation(service: &Client, plan: &Plan, number: usize) -> Result<(), Failure> {
    let source = &plan.source.conversations[number];
    let members: Vec<String> = source.members.iter().map(|user| plan.source.users[*user as usize].clone()).collect();
    let mut parts = members.chunks(MEMBERS_PER_CHANGE_MAX);
    let first = parts.next().unwrap_or_default();
    let created = persist(|| {
        service.create(NewConversation {
            id: Some(source.id.clone()),
            members: first.to_vec(),
            ..NewConversation::new(Kind::Group)
        })
    })
    .await?;
    if matches!(created, Change::Unchanged { .. }) && !first.is_empty() {
        // Whoever made it may have named others.
        persist(|| service.add(&source.id, first.to_vec())).await?;
    }
    for part in parts {
        persist(|| service.add(&source.id, part.to_vec())).await?;
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
