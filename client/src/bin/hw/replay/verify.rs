//! Reads users' timelines back from the start, over fresh read sessions, and has them compared with the source.

use super::compare::{Comparison, Outcome};
use super::plan::Plan;
use crate::args::VerifyUsers;
use crate::crowd::progress::Progress;
use crate::crowd::{Connector, SILENCE_MAX};
use crate::failure::Failure;
use crate::random::Random;
use highwater_client::{Event, Start, SubscribeOptions};
use highwater_proto::error::{Code, Error};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Users that are verified at a time.
const AT_A_TIME: usize = 8;

/// What verification came to.
pub(crate) struct Verified {
    /// Users whose timelines were read.
    pub(crate) users: u64,
    /// All of them together.
    pub(crate) outcome: Outcome,
}

/// Verifies all users, or some that are chosen by the source's seed.
pub(crate) async fn verify(plan: &Arc<Plan>, connector: &Connector, count: VerifyUsers) -> Result<Verified, Failure> {
    let mut chosen = choose(plan, count).into_iter();
    let mut progress = Progress::new(connector.progress, "users", chosen.len() as u64);
    let mut verified = Verified { users: 0, outcome: Outcome::default() };
    let mut readers = JoinSet::new();
    loop {
        while readers.len() < AT_A_TIME
            && let Some((user, conversations)) = chosen.next()
        {
            readers.spawn(read(Arc::clone(plan), connector.clone(), user, conversations));
        }
        match readers.join_next().await {
            Some(Ok(outcome)) => verified.outcome.merge(outcome?),
            Some(Err(error)) => return Err(Failure::io(format!("a reader stopped: {error}"))),
            None => return Ok(verified),
        }
        verified.users += 1;
        progress.advance();
    }
}

/// The users with their conversations: those first who have something to receive.
fn choose(plan: &Plan, count: VerifyUsers) -> Vec<(u32, Vec<u32>)> {
    let mut conversations: Vec<Vec<u32>> = vec![Vec::new(); plan.source.users.len()];
    let mut receives = vec![false; plan.source.users.len()];
    for (number, conversation) in (0u32..).zip(&plan.source.conversations) {
        for user in &conversation.members {
            conversations[*user as usize].push(number);
            receives[*user as usize] |= plan.first[number as usize].is_some();
        }
    }
    let mut users: Vec<u32> = (0..plan.source.users.len() as u32).filter(|user| receives[*user as usize]).collect();
    match count {
        VerifyUsers::All => users = (0..plan.source.users.len() as u32).collect(),
        VerifyUsers::Some(count) => users = Random::new(plan.source.seed).choose(users, count),
    }
    users.into_iter().map(|user| (user, std::mem::take(&mut conversations[user as usize]))).collect()
}

async fn read(plan: Arc<Plan>, connector: Connector, user: u32, conversations: Vec<u32>) -> Result<Outcome, Failure> {
    let name = &plan.source.users[user as usize];
    let explain = |mut error: Error| {
        error.message = format!("{name:?}: {}", error.message);
        Failure::from(error)
    };
    // Not `connect`, which gives up at the first failure: the server may be on its way back.
    let client = connector.reader(name).start().map_err(explain)?;
    let options = SubscribeOptions { start: Start::FromStart, live: false, ..SubscribeOptions::default() };
    let mut subscription = client.subscribe(options);
    let mut comparison = Comparison::new(&plan, &conversations);
    let silent = || Error::new(Code::Unreachable, format!("nothing came for {} s", SILENCE_MAX.as_secs()));
    loop {
        let batch = tokio::time::timeout(SILENCE_MAX, subscription.next_batch()).await;
        let Some(batch) = batch.unwrap_or_else(|_| Err(silent())).map_err(explain)? else { break };
        for event in batch.events() {
            match event {
                Event::Record(record) => comparison.record(record),
                Event::Gap(gap) => comparison.gap(gap),
                Event::Reset { reason } => comparison.reset(reason.as_str()),
                Event::Conversation(_) | Event::Checkpoint { .. } => {}
            }
        }
        batch.commit().map_err(explain)?;
    }
    // Taking the connection down holds nobody up.
    tokio::spawn(async move { client.close().await });
    let mut outcome = comparison.finish();
    for what in &mut outcome.described {
        *what = format!("{name:?}: {what}");
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::source;
    use super::*;

    #[test]
    fn the_choice_is_seeded_and_prefers_those_who_receive() {
        let mut source = source(40, 2, &[(0, 0, "a"), (1, 0, "b")]);
        source.conversations[0].members = (0..30).collect();
        source.conversations[1].members = (20..40).collect();
        let plan = Plan::new(source, 100);
        let some = choose(&plan, VerifyUsers::Some(10));
        assert_eq!(some, choose(&plan, VerifyUsers::Some(10)));
        assert_eq!(some.len(), 10);
        assert!(some.iter().all(|(user, conversations)| *user < 30 && conversations[0] == 0));
        assert_eq!(choose(&plan, VerifyUsers::Some(1000)).len(), 30);
        assert_eq!(choose(&plan, VerifyUsers::All).len(), 40);
    }
}
