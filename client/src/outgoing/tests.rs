//! The queue against a server that keeps the protocol's rules, over connections that break and processes that restart.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::command::{Message, Quote};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;

/// What a durable store would hold.
#[derive(Clone, Default)]
struct Disk {
    rows: Vec<Queued>,
    next_local: u64,
}

impl Disk {
    fn apply(&mut self, changes: Vec<QueueChange>) {
        for change in changes {
            match change {
                QueueChange::Add(queued) => {
                    self.next_local = queued.local.0 + 1;
                    self.rows.push(queued);
                }
                QueueChange::Number { local, number } => self.row(local).number = number,
                QueueChange::Quote { local, seq } => Arc::make_mut(&mut self.row(local).command).resolve_quote(seq),
                QueueChange::Remove(local) => self.rows.retain(|row| row.local != local),
            }
        }
    }

    fn row(&mut self, local: LocalId) -> &mut Queued {
        self.rows.iter_mut().find(|row| row.local == local).expect("a change names a row")
    }

    fn queue(&self) -> Outgoing {
        Outgoing::new(self.rows.clone(), LocalId(self.next_local.max(1)), 10_000, 64 << 20)
    }
}

/// One device's numbers as the server keeps them. Bodies that begin with `-` are refused.
#[derive(Default)]
struct Server {
    accepted: Vec<Numbered>,
}

impl Server {
    fn last(&self) -> u64 {
        self.accepted.len() as u64
    }

    fn answer(&mut self, transmission: &Transmission) -> Result<Receipt, Error> {
        let Transmission { number, command, .. } = transmission;
        let receipt = |repeated| Receipt {
            conversation: "room".to_owned(),
            seq: 100 + number,
            position: 1_000 + number,
            time_ms: 1,
            client_seq: *number,
            repeated,
        };
        if let Some(held) = self.accepted.get(*number as usize - 1) {
            let conflict = Error::new(Code::Conflict, "the number holds something else");
            return if *held == **command { Ok(receipt(true)) } else { Err(conflict) };
        }
        if *number > self.last() + 1 {
            return Err(Error::out_of_order(*number, self.last() + 1));
        }
        if body(command).starts_with('-') {
            return Err(Error::new(Code::NotAllowed, "refused"));
        }
        self.accepted.push(Numbered::clone(command));
        Ok(receipt(false))
    }
}

fn message(body: &str) -> Numbered {
    Numbered::Send(Message::to_conversation("room", body.to_owned()))
}

fn quoting(body: &str, local: LocalId) -> Numbered {
    Numbered::Send(Message::to_conversation("room", body.to_owned()).quote(Quote::Local(local)))
}

fn body(command: &Numbered) -> String {
    match command {
        Numbered::Send(message) => String::from_utf8(message.body.to_vec()).expect("tests send text"),
        _ => unreachable!("tests send messages"),
    }
}

/// A device, its disk, and the server it talks to.
struct World {
    queue: Outgoing,
    disk: Disk,
    server: Server,
    now: Instant,
    /// How each local id ended, by name of its body.
    ended: HashMap<String, Result<u64, Code>>,
    bodies: HashMap<LocalId, String>,
}

impl World {
    fn new() -> Self {
        let disk = Disk::default();
        let queue = disk.queue();
        let (ended, bodies) = (HashMap::new(), HashMap::new());
        Self { queue, disk, server: Server::default(), now: Instant::now(), ended, bodies }
    }

    fn enqueue(&mut self, command: Numbered) -> LocalId {
        let body = body(&command);
        let local = self.queue.enqueue(command).expect("there is room");
        self.bodies.insert(local, body);
        self.settle();
        local
    }

    fn enqueue_all(&mut self, bodies: &[&str]) {
        for body in bodies {
            self.enqueue(message(body));
        }
    }

    fn settle(&mut self) {
        self.disk.apply(self.queue.take_changes());
        for (local, result) in self.queue.take_finished() {
            let outcome = result.map(|receipt| receipt.client_seq).map_err(|error| error.code);
            let before = self.ended.insert(self.bodies[&local].clone(), outcome);
            assert!(before.is_none(), "{} ended twice", self.bodies[&local]);
        }
    }

    fn connect(&mut self) {
        self.queue.connected(self.server.last(), Vec::new());
        self.settle();
    }

    fn transmit(&mut self, room: usize) -> Vec<Transmission> {
        let out = self.queue.transmit(self.now, room, usize::MAX);
        self.settle();
        out
    }

    /// Lets the server answer, and the answers come back.
    fn deliver(&mut self, transmissions: &[Transmission]) {
        let answers: Vec<_> = transmissions.iter().map(|sent| (sent.local, self.server.answer(sent))).collect();
        for (local, answer) in answers {
            assert_eq!(self.queue.answered(local, answer, self.now), Verdict::Continue);
        }
        self.settle();
    }

    fn restart(&mut self) {
        self.queue = self.disk.queue();
    }

    fn drain(&mut self) {
        for _ in 0..1_000 {
            let sent = self.transmit(256);
            if sent.is_empty() {
                break;
            }
            self.deliver(&sent);
        }
        assert!(self.queue.is_empty(), "everything is answered");
        assert!(self.disk.rows.is_empty(), "nothing is left on the disk");
    }

    fn accepted(&self) -> Vec<String> {
        self.server.accepted.iter().map(body).collect()
    }
}

fn numbers(transmissions: &[Transmission]) -> Vec<u64> {
    transmissions.iter().map(|sent| sent.number).collect()
}

#[test]
fn a_lost_acknowledgement_is_asked_for_again_under_the_same_number() {
    let mut world = World::new();
    world.connect();
    world.enqueue_all(&["a", "b"]);
    let sent = world.transmit(256);
    assert_eq!(numbers(&sent), [1, 2]);
    sent.iter().for_each(|sent| _ = world.server.answer(sent));
    world.queue.disconnected();
    world.connect();
    let again = world.transmit(256);
    assert_eq!(numbers(&again), [1, 2]);
    world.deliver(&again);
    assert_eq!(world.accepted(), ["a", "b"]);
}

#[test]
fn what_the_server_never_got_is_numbered_anew_whatever_the_disk_says() {
    let mut world = World::new();
    world.server.accepted = vec![message("old"), message("older")];
    world.connect();
    world.enqueue_all(&["a", "b", "c"]);
    let sent = world.transmit(256);
    assert_eq!(numbers(&sent), [3, 4, 5]);
    world.server.answer(&sent[0]).unwrap();
    // Killed; and the device has sent from elsewhere meanwhile, where `b` has never been heard of.
    world.restart();
    world.connect();
    assert_eq!(numbers(&world.transmit(256)), [3, 4, 5], "the repeat keeps its number, the others get the next ones");
    world.restart();
    world.server.accepted.push(message("from elsewhere"));
    world.connect();
    world.drain();
    assert_eq!(world.ended["a"], Ok(3));
    assert_eq!(world.ended["b"], Err(Code::Conflict), "4 was used by another client of the device: named, not doubled");
    assert_eq!(world.ended["c"], Ok(5));
}

#[test]
fn numbers_are_on_the_disk_before_anything_is_transmitted() {
    let mut world = World::new();
    world.connect();
    let local = world.enqueue(message("a"));
    assert_eq!(world.disk.rows[0].number, None);
    let sent = world.queue.transmit(world.now, 1, usize::MAX);
    assert_eq!(world.queue.take_changes(), [QueueChange::Number { local, number: Some(sent[0].number) }]);
}

#[test]
fn a_refusal_in_the_middle_of_a_pipeline_consumes_no_number() {
    let mut world = World::new();
    world.connect();
    world.enqueue_all(&["a", "-b", "c", "-d", "e", "f"]);
    let sent = world.transmit(256);
    assert_eq!(numbers(&sent), [1, 2, 3, 4, 5, 6]);
    world.deliver(&sent[..2]);
    assert_eq!(world.ended["-b"], Err(Code::NotAllowed));
    world.enqueue(message("g"));
    assert_eq!(world.transmit(256), [], "nothing new goes out while anything is under way");
    world.deliver(&sent[2..]);
    let again = world.transmit(256);
    assert_eq!(numbers(&again), [2, 3, 4, 5, 6], "c -d e f g");
    world.deliver(&again);
    world.drain();
    assert_eq!(world.accepted(), ["a", "c", "e", "f", "g"]);
    assert_eq!(world.ended["-d"], Err(Code::NotAllowed));
}

#[test]
fn a_break_after_a_refusal_leaves_no_number_that_another_one_gets() {
    let mut world = World::new();
    world.connect();
    world.enqueue_all(&["-a", "b", "c"]);
    let sent = world.transmit(256);
    world.deliver(&sent[..1]);
    world.restart();
    world.connect();
    assert!(world.disk.rows.iter().all(|row| row.number.is_none()), "2 and 3 were not accepted: both are free");
    world.drain();
    assert_eq!(world.accepted(), ["b", "c"]);
}

#[test]
fn a_server_that_contradicts_itself_is_asked_anew() {
    let mut world = World::new();
    world.connect();
    let local = world.enqueue(message("a"));
    let sent = world.transmit(256);
    let verdict = world.queue.answered(local, Err(Error::out_of_order(sent[0].number, 7)), world.now);
    assert!(matches!(verdict, Verdict::EndSession(error) if error.code == Code::Protocol));
    assert_eq!(world.disk.rows.len(), 1, "it stays queued");
}

#[test]
fn a_takeover_ends_the_session_and_keeps_the_queue() {
    let mut world = World::new();
    world.connect();
    let local = world.enqueue(message("a"));
    world.transmit(256);
    let replaced = Error::new(Code::Replaced, "taken over");
    assert_eq!(world.queue.answered(local, Err(replaced.clone()), world.now), Verdict::EndSession(replaced));
    world.restart();
    world.connect();
    world.drain();
    assert_eq!(world.accepted(), ["a"]);
}

#[test]
fn a_server_without_room_is_asked_again_after_a_pause() {
    let mut world = World::new();
    world.connect();
    let local = world.enqueue(message("a"));
    world.enqueue(message("b"));
    let sent = world.transmit(1);
    assert_eq!(sent.len(), 1);
    let full = Error::new(Code::ReadOnly, "no space");
    assert_eq!(world.queue.answered(local, Err(full), world.now), Verdict::Continue);
    assert_eq!(world.queue.held_up().map(|error| error.code), Some(Code::ReadOnly));
    assert_eq!(world.transmit(256), []);
    let at = world.queue.resume_at().expect("there is a time to go on");
    assert!(at > world.now);
    world.now = at;
    world.drain();
    assert_eq!(world.queue.held_up(), None);
    assert_eq!(world.accepted(), ["a", "b"]);
}

#[test]
fn a_quote_waits_for_its_message_and_falls_with_it() {
    let mut world = World::new();
    world.connect();
    let quoted = world.enqueue(message("a"));
    world.enqueue(quoting("b", quoted));
    world.enqueue(message("c"));
    let sent = world.transmit(256);
    assert_eq!(sent.iter().map(|sent| body(&sent.command)).collect::<Vec<_>>(), ["a"], "nothing overtakes");
    world.deliver(&sent);
    let sent = world.transmit(256);
    let resolved = Message::to_conversation("room", "b").quote(Quote::Seq(101));
    assert_eq!(*sent[0].command, Numbered::Send(resolved.clone()));
    assert_eq!(*world.disk.rows[0].command, Numbered::Send(resolved), "after a restart, too");
    world.deliver(&sent);
    world.enqueue(quoting("later", quoted));
    world.drain();

    let refused = world.enqueue(message("-d"));
    let second = world.enqueue(quoting("e", refused));
    world.enqueue(quoting("f", second));
    world.enqueue(message("g"));
    world.drain();
    assert_eq!(world.ended["e"], Err(Code::NotAllowed));
    assert_eq!(world.ended["f"], Err(Code::NotAllowed));
    assert_eq!(world.accepted(), ["a", "b", "c", "later", "g"]);
    let error = world.queue.enqueue(quoting("h", refused)).expect_err("it is gone");
    assert_eq!(error.code, Code::InvalidArgument);
}

/// The server was known by another name when the quoted message was queued and transmitted.
#[test]
fn what_is_found_at_the_welcome_goes_before_what_was_known() {
    let mut world = World::new();
    world.server.accepted.push(message("a"));
    world.disk.rows = vec![Queued { local: LocalId(2), number: None, command: quoting("b", LocalId(1)).into() }];
    world.restart();
    world.bodies = HashMap::from([(LocalId(1), "a".to_owned()), (LocalId(2), "b".to_owned())]);
    let found = Queued { local: LocalId(1), number: Some(1), command: message("a").into() };
    world.disk.rows.push(found.clone());
    world.queue.connected(1, vec![found]);
    world.drain();
    assert_eq!((&world.ended["a"], &world.ended["b"]), (&Ok(1), &Ok(2)));
    assert_eq!(world.accepted(), ["a", "b"]);
}

#[test]
fn only_what_was_never_numbered_can_be_withdrawn() {
    let mut world = World::new();
    let first = world.enqueue(message("a"));
    let second = world.enqueue(message("b"));
    world.connect();
    world.transmit(1);
    assert!(!world.queue.withdraw(first));
    assert!(world.queue.withdraw(second));
    world.settle();
    assert_eq!(world.disk.rows.len(), 1);
    assert!(!world.queue.withdraw(second));
}

/// A server whose disk is full refuses for now, which is certain: whoever does not want to wait takes the message back.
#[test]
fn what_was_put_off_can_be_withdrawn() {
    let mut world = World::new();
    world.connect();
    let first = world.enqueue(message("a"));
    world.enqueue(message("b"));
    let sent = world.transmit(256);
    assert!(!world.queue.withdraw(first), "it is under way");
    let full = Err(Error::new(Code::ReadOnly, "no space"));
    assert_eq!(world.queue.answered(first, full, world.now), Verdict::Continue);
    assert!(world.queue.withdraw(first));
    world.deliver(&sent[1..]);
    world.now += RETRY_AFTER;
    world.drain();
    assert_eq!(world.accepted(), ["b"]);
}

#[test]
fn the_queue_is_bounded_by_entries_and_by_bytes() {
    let mut queue = Outgoing::new(Vec::new(), LocalId(1), 2, 1_000);
    queue.enqueue(message("a")).unwrap();
    let error = queue.enqueue(message(&"x".repeat(900))).unwrap_err();
    assert_eq!((error.limit.as_deref(), error.value), (Some("outgoing_bytes_max"), Some(1_000)));
    queue.enqueue(message("b")).unwrap();
    let error = queue.enqueue(message("c")).unwrap_err();
    assert_eq!((error.limit.as_deref(), error.value), (Some("outgoing_entries_max"), Some(2)));
}

/// Whatever breaks when: each message is accepted once, in order, or refused by name.
#[test]
fn random_histories_lose_and_double_nothing() {
    let seed = rand::random();
    for case in 0..2_000_u64 {
        random_history(seed, case);
    }
}

fn random_history(seed: u64, case: u64) {
    let mut rng = SmallRng::seed_from_u64(seed ^ case);
    let mut world = World::new();
    let mut sent: VecDeque<Transmission> = VecDeque::new();
    let mut answers = VecDeque::new();
    let (mut expected, mut locals) = (Vec::new(), Vec::new());
    for step in 0..60 {
        match rng.random_range(0..8) {
            0..=2 => {
                let refused = rng.random_bool(0.15);
                let name = format!("{}{step}", if refused { "-" } else { "" });
                let command = match locals.last() {
                    Some(local) if rng.random_bool(0.2) && world.queue.queued().any(|held| held.local == *local) => {
                        quoting(&name, *local)
                    }
                    _ => message(&name),
                };
                locals.push(world.enqueue(command));
                expected.push(name);
            }
            3 => sent.extend(world.transmit(rng.random_range(0..5))),
            4 => answers.extend(sent.pop_front().map(|sent| (sent.local, world.server.answer(&sent)))),
            5 => {
                if let Some((local, answer)) = answers.pop_front() {
                    assert_eq!(world.queue.answered(local, answer, world.now), Verdict::Continue);
                    world.settle();
                }
            }
            6 => {
                world.queue.disconnected();
                (sent, answers) = Default::default();
                world.connect();
            }
            _ if rng.random_bool(0.3) => {
                world.restart();
                (sent, answers) = Default::default();
                world.connect();
            }
            _ => {}
        }
    }
    world.restart();
    world.connect();
    world.drain();
    let story = format!("seed {seed}, case {case}");
    let accepted: Vec<_> = expected.iter().filter(|name| world.ended[*name].is_ok()).cloned().collect();
    assert_eq!(world.accepted(), accepted, "{story}: in order, once each");
    for name in &expected {
        let may_fail = name.starts_with('-') || world.ended[name] == Err(Code::NotAllowed);
        assert!(world.ended[name].is_ok() || may_fail, "{story}: {name} ended as {:?}", world.ended[name]);
    }
}
