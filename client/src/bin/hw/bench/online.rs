//! The devices that are online: all of them together, and the storms that take some of them away.

use super::ending::{Expected, Found, GivenUp, Targets, Until, silent};
use super::live::Live;
use super::plan::Plan;
use super::reader::{self, Wires};
use super::run::Run;
use super::sender::Sent;
use super::{CONNECTING_MAX, STEP_LINES, TELL_INTERVAL, joined};
use crate::crowd::SILENCE_MAX;
use crate::crowd::progress::{Progress, Style};
use crate::failure::Failure;
use crate::random::Random;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};

/// When readers go away and come back, and which.
pub(super) struct Storms {
    share: f64,
    times: Option<tokio::time::Interval>,
    random: Random,
}

impl Storms {
    pub(super) fn new(run: &Run) -> Self {
        let reconnect = run.plan.workload.reconnect;
        let times = reconnect.map(|reconnect| {
            let every = Duration::from_secs_f64(reconnect.every_seconds);
            interval_at(Instant::now() + every, every)
        });
        let share = reconnect.map_or(0.0, |reconnect| reconnect.share);
        Self { share, times, random: Random::new(run.plan.workload.seed) }
    }

    /// Waits for the next one; without any, for ever.
    pub(super) async fn next(&mut self) {
        match &mut self.times {
            Some(times) => drop(times.tick().await),
            None => std::future::pending().await,
        }
    }

    pub(super) fn strike(&mut self, readers: &Readers, is_over: bool) {
        let count = (readers.storms.len() as f64 * self.share).round() as usize;
        if is_over {
            return;
        }
        for number in self.random.choose((0..readers.storms.len()).collect(), count) {
            // One that is still coming back from the last one is left alone.
            let _ = readers.storms[number].try_send(());
        }
    }
}

/// The devices that are online.
pub(super) struct Readers {
    pub(super) tasks: JoinSet<Result<Found, Failure>>,
    storms: Vec<mpsc::Sender<()>>,
    until: watch::Sender<Until>,
}

impl Readers {
    /// Connects them all, and waits until each has caught up.
    pub(super) async fn connect(run: &Arc<Run>) -> Result<Self, Failure> {
        let count = run.plan.readers.len();
        let mut progress = Progress::new(run.connector.progress, "readers", count as u64).lines(STEP_LINES);
        let mut readers =
            Self { tasks: JoinSet::new(), storms: Vec::with_capacity(count), until: watch::Sender::new(Until::Told) };
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        let (ready, mut begun) = mpsc::unbounded_channel();
        for number in 0..count {
            let (storm, storms) = mpsc::channel(1);
            readers.storms.push(storm);
            let wires = Wires {
                ready: ready.clone(),
                connecting: Arc::clone(&connecting),
                storm: storms,
                until: readers.until.subscribe(),
            };
            readers.tasks.spawn(reader::read(Arc::clone(run), number, wires));
        }
        for _ in 0..count {
            tokio::select! {
                begun = timeout(SILENCE_MAX, begun.recv()) => {
                    begun.ok().flatten().ok_or_else(silent)?;
                    progress.advance();
                }
                ended = readers.tasks.join_next() => return Err(joined(Ok(ended)).err().unwrap_or_else(silent)),
            }
        }
        Ok(readers)
    }

    /// Waits until everything has come that was acknowledged, unless that was given up or is now. What was found; and
    /// why it was given up, if it was.
    pub(super) async fn finish(
        mut self,
        run: &Run,
        targets: Targets,
        mut given_up: Option<GivenUp>,
        interrupts: &mut mpsc::Receiver<()>,
    ) -> Result<(Found, Option<GivenUp>), Failure> {
        let mut progress = Progress::new(run.connector.progress, "complete", self.tasks.len() as u64).lines(STEP_LINES);
        let targets = Arc::new(targets);
        let until = |given_up: Option<GivenUp>| match given_up {
            None => Until::Complete(Arc::clone(&targets)),
            Some(why) => Until::GivenUp(Arc::clone(&targets), why),
        };
        self.until.send_replace(until(given_up));
        // Those who were sent away say nothing until they are back.
        let away_ms = run.plan.workload.reconnect.map_or(0, |reconnect| reconnect.away_ms);
        let silence_max = SILENCE_MAX + Duration::from_millis(away_ms);
        let mut live = Live::new(Style::Silent, &run.meter);
        let mut look = interval_at(Instant::now() + TELL_INTERVAL, TELL_INTERVAL);
        let mut found = Found::default();
        while !self.tasks.is_empty() {
            tokio::select! {
                ended = self.tasks.join_next() => {
                    found.merge(joined(Ok(ended))?);
                    progress.advance();
                }
                _ = look.tick(), if given_up.is_none() => {
                    live.tell(&run.meter);
                    if live.silence() > silence_max {
                        given_up = Some(GivenUp::Silence);
                        self.until.send_replace(until(given_up));
                    }
                }
                Some(()) = interrupts.recv(), if given_up.is_none() => {
                    given_up = Some(GivenUp::Interrupt);
                    self.until.send_replace(until(given_up));
                }
            }
        }
        Ok((found, given_up))
    }
}

/// What has to come to each user who reads.
pub(super) fn targets(plan: &Plan, sent: &[Sent]) -> Targets {
    let mut highest: HashMap<&str, u64> = HashMap::new();
    for (conversation, seq) in sent.iter().flat_map(|sent| &sent.highest) {
        let entry = highest.entry(conversation).or_default();
        *entry = (*entry).max(*seq);
    }
    let mut targets: Targets = plan.readers.iter().map(|user| (*user, Expected::new())).collect();
    let mut expect = |user: u32, conversation: &str| {
        if let (Some(own), Some(seq)) = (targets.get_mut(&user), highest.get(conversation)) {
            own.insert(conversation.to_owned(), *seq);
        }
    };
    for group in 0..plan.group_count() as u32 {
        let name = plan.group(group as usize).id;
        plan.members(group).iter().for_each(|user| expect(*user, &name));
    }
    // Of two who write to each other both tell their conversation.
    for sent in sent {
        for (user, conversation) in &sent.direct {
            expect(*user, conversation);
            expect(sent.user, conversation);
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::order::Order;
    use super::super::workload::Workload;
    use super::*;

    #[test]
    fn two_who_write_to_each_other_have_one_conversation() {
        let file = r#"{"users": 3, "senders": 3, "direct": {"share": 0.5}, "groups": [{"members": 3}]}"#;
        let plan = Plan::new(Workload::parse(file, true).expect("is well formed"));
        let group = plan.group(0).id;
        let sent = |user, other, seq| Sent {
            user,
            highest: HashMap::from([("dm".to_owned(), seq), (group.clone(), 2 * seq)]),
            direct: HashMap::from([(other, "dm".to_owned())]),
        };
        let targets = targets(&plan, &[sent(0, 1, 3), sent(1, 0, 4)]);
        let of_two = Expected::from([("dm".to_owned(), 4), (group.clone(), 8)]);
        let of_group = Expected::from([(group, 8)]);
        assert_eq!(targets, Targets::from([(0, of_two.clone()), (1, of_two), (2, of_group)]));
        assert_eq!(Order::default().finish(&targets[&0]).missing, 4 + 8, "each number once");
    }
}
