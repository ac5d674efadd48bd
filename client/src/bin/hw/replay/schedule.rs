//! Who may send what now, and who holds a session: pure decisions over a [`Plan`].
//!
//! Two orders have to be kept: each conversation's and each author's. A message may leave once the one before it in its
//! conversation is acknowledged, or is by the same author and left earlier on the same session (whose commands are taken in
//! order); an author's messages leave in order. Sessions are scarce: they go to the author of the earliest message that
//! may leave, and an idle one (nothing to send, nothing unanswered) is closed for it, the longest idle first. The earliest
//! unacknowledged message may always leave, so that one session is enough.

use super::plan::Plan;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the runner has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open the author's session; answer with [`Schedule::opened`] or [`Schedule::ended`].
    Open(u32),
    /// Send these messages, in this order.
    Send(u32, Vec<u32>),
    /// Close the author's session; answer with [`Schedule::ended`].
    Close(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    None,
    Opening,
    Open,
    Closing,
}

#[derive(Clone, Debug)]
struct Author {
    session: Session,
    /// All numbers up to this one are acknowledged.
    acknowledged: u32,
    /// All numbers up to this one left on the session that is open.
    sent: u32,
    /// Where the author stands in `idle`.
    idle_since: u64,
}

/// The state of a replay.
#[derive(Debug)]
pub(crate) struct Schedule {
    plan: Arc<Plan>,
    authors: Vec<Author>,
    sessions_max: usize,
    in_flight_max: u32,
    /// Sessions that are opening, open or closing.
    held: usize,
    /// Sessions that are closing.
    closing: usize,
    /// Authors without a session whose next message may leave, by that message.
    ready: BTreeSet<(u32, u32)>,
    /// Authors whose open session has nothing to do, by the time since when.
    idle: BTreeSet<(u64, u32)>,
    clock: u64,
    remaining: usize,
}

impl Schedule {
    /// Nothing is acknowledged yet. At most `sessions_max` (at least 1) sessions are held, each with at most
    /// `in_flight_max` (at least 1) messages that are not answered yet.
    pub(crate) fn new(plan: Arc<Plan>, sessions_max: usize, in_flight_max: u32) -> Self {
        let author = Author { session: Session::None, acknowledged: 0, sent: 0, idle_since: 0 };
        let mut schedule = Self {
            authors: vec![author; plan.by_author.len()],
            sessions_max: sessions_max.max(1),
            in_flight_max: in_flight_max.max(1),
            held: 0,
            closing: 0,
            ready: BTreeSet::new(),
            idle: BTreeSet::new(),
            clock: 0,
            remaining: plan.len(),
            plan,
        };
        for author in 0..schedule.authors.len() as u32 {
            schedule.make_ready(author);
        }
        schedule
    }

    /// How many messages are not acknowledged.
    pub(crate) fn remaining(&self) -> usize {
        self.remaining
    }

    /// How many sessions are opening, open or closing.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.held
    }

    /// Which sessions to open and to close now.
    pub(crate) fn assign(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while self.held < self.sessions_max {
            let Some((_, author)) = self.ready.pop_first() else { break };
            self.authors[author as usize].session = Session::Opening;
            self.held += 1;
            actions.push(Action::Open(author));
        }
        while self.closing < self.ready.len() {
            let Some((_, author)) = self.idle.pop_first() else { break };
            self.authors[author as usize].session = Session::Closing;
            self.closing += 1;
            actions.push(Action::Close(author));
        }
        actions
    }

    /// The author's session is open, and the server has accepted all numbers up to `last`.
    pub(crate) fn opened(&mut self, author: u32, last: u32) -> Vec<Action> {
        let state = &mut self.authors[author as usize];
        debug_assert_eq!(state.session, Session::Opening);
        state.session = Session::Open;
        state.sent = state.acknowledged;
        let mut woken = self.advance(author, last);
        woken.push(author);
        self.wake(woken)
    }

    /// The server has accepted all of the author's numbers up to `number`.
    pub(crate) fn acknowledged(&mut self, author: u32, number: u32) -> Vec<Action> {
        let mut woken = self.advance(author, number);
        woken.push(author);
        self.wake(woken)
    }

    /// The author's session has ended, whether it was closed, lost or never came about.
    pub(crate) fn ended(&mut self, author: u32) {
        let state = &mut self.authors[author as usize];
        if state.session == Session::Closing {
            self.closing -= 1;
        }
        if state.session != Session::None {
            self.held -= 1;
        }
        state.session = Session::None;
        state.sent = state.acknowledged;
        let since = state.idle_since;
        self.idle.remove(&(since, author));
        self.make_ready(author);
    }

    /// Takes note of what is accepted; answers with the authors whose next message may be able to leave now.
    fn advance(&mut self, author: u32, number: u32) -> Vec<u32> {
        let own = &self.plan.by_author[author as usize];
        let state = &mut self.authors[author as usize];
        let (from, through) = (state.acknowledged as usize, (number as usize).min(own.len()));
        if through <= from {
            return Vec::new();
        }
        state.acknowledged = through as u32;
        state.sent = state.sent.max(state.acknowledged);
        self.remaining -= through - from;
        let plan = &self.plan;
        own[from..through]
            .iter()
            .filter_map(|message| plan.after[*message as usize])
            .map(|next| plan.author(next))
            .collect()
    }

    fn wake(&mut self, authors: Vec<u32>) -> Vec<Action> {
        let mut actions = Vec::new();
        for author in authors {
            match self.authors[author as usize].session {
                Session::None => self.make_ready(author),
                Session::Open => {
                    let messages = self.take(author);
                    if !messages.is_empty() {
                        actions.push(Action::Send(author, messages));
                    }
                }
                Session::Opening | Session::Closing => {}
            }
        }
        actions
    }

    /// The messages that leave on the author's open session now.
    fn take(&mut self, author: u32) -> Vec<u32> {
        let mut messages = Vec::new();
        let index = author as usize;
        while self.authors[index].sent - self.authors[index].acknowledged < self.in_flight_max {
            let Some(message) = self.next(author) else { break };
            self.authors[index].sent += 1;
            messages.push(message);
        }
        let state = &mut self.authors[index];
        self.idle.remove(&(state.idle_since, author));
        if state.sent == state.acknowledged {
            self.clock += 1;
            state.idle_since = self.clock;
            self.idle.insert((self.clock, author));
        }
        messages
    }

    fn make_ready(&mut self, author: u32) {
        if let Some(message) = self.next(author) {
            self.ready.insert((message, author));
        }
    }

    /// The author's next message, if it may leave.
    fn next(&self, author: u32) -> Option<u32> {
        let sent = self.authors[author as usize].sent as usize;
        let message = *self.plan.by_author[author as usize].get(sent)?;
        let may_leave = match self.plan.before[message as usize] {
            None => true,
            // The same author's earlier message has a lower number, and so it left already.
            Some(before) => self.plan.author(before) == author || self.is_acknowledged(before),
        };
        may_leave.then_some(message)
    }

    fn is_acknowledged(&self, message: u32) -> bool {
        self.plan.numbers[message as usize] <= self.authors[self.plan.author(message) as usize].acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::source;
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::{HashMap, VecDeque};

    fn plan(users: u32, conversations: u32, count: usize, random: &mut StdRng) -> Arc<Plan> {
        let messages: Vec<_> = (0..count)
            .map(|_| (random.random_range(0..users), random.random_range(0..conversations), "text"))
            .collect();
        Arc::new(Plan::new(source(users, conversations, &messages), 100))
    }

    /// A server that accepts in order, answers late, loses sessions and restarts; it checks both orders.
    struct Server {
        plan: Arc<Plan>,
        accepted: Vec<u32>,
        last: HashMap<u32, u32>,
        sessions: HashMap<u32, VecDeque<u32>>,
    }

    impl Server {
        fn accept(&mut self, author: u32) -> Option<u32> {
            let message = self.sessions.get_mut(&author)?.pop_front()?;
            let last = self.last.entry(author).or_default();
            assert_eq!(self.plan.numbers[message as usize], *last + 1, "an author's numbers are contiguous");
            *last += 1;
            if let Some(before) = self.plan.before[message as usize] {
                assert!(self.accepted.contains(&before), "a conversation's order is kept");
            }
            self.accepted.push(message);
            Some(*last)
        }
    }

    /// Plays until everything is acknowledged or `steps` are over; answers with the number of messages that were sent.
    fn play(
        server: &mut Server,
        sessions: usize,
        in_flight: u32,
        losses: f64,
        steps: usize,
        random: &mut StdRng,
    ) -> usize {
        let mut schedule = Schedule::new(server.plan.clone(), sessions, in_flight);
        let mut sent = 0;
        let mut todo: VecDeque<Action> = schedule.assign().into();
        for _ in 0..steps {
            if schedule.remaining() == 0 {
                return sent;
            }
            assert!(schedule.held() <= sessions);
            let more = if let Some(action) = todo.pop_front() {
                match action {
                    Action::Open(author) => {
                        server.sessions.insert(author, VecDeque::new());
                        schedule.opened(author, server.last.get(&author).copied().unwrap_or(0))
                    }
                    Action::Send(author, messages) => {
                        sent += messages.len();
                        if let Some(session) = server.sessions.get_mut(&author) {
                            session.extend(messages);
                            assert!(session.len() <= in_flight as usize);
                        }
                        Vec::new()
                    }
                    Action::Close(author) => {
                        assert_eq!(server.sessions.remove(&author).map(|session| session.len()), Some(0));
                        schedule.ended(author);
                        Vec::new()
                    }
                }
            } else {
                let mut open: Vec<u32> = server.sessions.keys().copied().collect();
                open.sort_unstable();
                assert!(!open.is_empty(), "stuck with {} messages left", schedule.remaining());
                let author = open[random.random_range(0..open.len())];
                if random.random_bool(losses) {
                    // Accepted, but the answer is lost with the session.
                    server.accept(author);
                    server.sessions.remove(&author);
                    schedule.ended(author);
                    Vec::new()
                } else {
                    match server.accept(author) {
                        Some(number) => schedule.acknowledged(author, number),
                        None => Vec::new(),
                    }
                }
            };
            todo.extend(more);
            todo.extend(schedule.assign());
        }
        sent
    }

    fn server(plan: Arc<Plan>) -> Server {
        Server { plan, accepted: Vec::new(), last: HashMap::new(), sessions: HashMap::new() }
    }

    #[test]
    fn everything_arrives_in_order_whatever_the_sessions_and_losses() {
        let seed = 20_261_121;
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for case in 0..60 {
            let plan = plan(1 + case % 9, 1 + case % 4, 200, &mut random);
            let mut server = server(plan.clone());
            let sessions = [1, 2, 5, 100][case as usize % 4];
            let losses = [0.0, 0.1][case as usize % 2];
            play(&mut server, sessions, 1 + case % 7, losses, 200_000, &mut random);
            assert_eq!(server.accepted.len(), plan.len(), "case {case}");
        }
    }

    #[test]
    fn an_interrupted_replay_goes_on_and_a_second_one_sends_nothing() {
        let mut random = StdRng::seed_from_u64(5);
        let plan = plan(6, 3, 300, &mut random);
        let mut server = server(plan.clone());
        play(&mut server, 3, 4, 0.0, 150, &mut random);
        assert!(!server.accepted.is_empty() && server.accepted.len() < plan.len());
        server.sessions.clear();
        play(&mut server, 3, 4, 0.0, 100_000, &mut random);
        assert_eq!(server.accepted.len(), plan.len());
        server.sessions.clear();
        assert_eq!(play(&mut server, 3, 4, 0.0, 100_000, &mut random), 0);
    }

    #[test]
    fn one_author_s_run_is_pipelined_and_others_wait_for_the_acknowledgement() {
        let plan = Arc::new(Plan::new(source(2, 1, &[(0, 0, "a"), (0, 0, "b"), (1, 0, "c"), (0, 0, "d")]), 100));
        let mut schedule = Schedule::new(plan, 8, 16);
        assert_eq!(schedule.assign(), [Action::Open(0)]);
        assert_eq!(schedule.opened(0, 0), [Action::Send(0, vec![0, 1])]);
        assert_eq!(schedule.acknowledged(0, 1), []);
        assert_eq!(schedule.assign(), []);
        assert_eq!(schedule.acknowledged(0, 2), []);
        assert_eq!(schedule.assign(), [Action::Open(1)]);
        assert_eq!(schedule.opened(1, 0), [Action::Send(1, vec![2])]);
        assert_eq!(schedule.acknowledged(1, 1), [Action::Send(0, vec![3])]);
    }
}
