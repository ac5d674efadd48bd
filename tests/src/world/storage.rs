//! What happens to the store: persists, openings, crashes, and sends that are cut off half way.

use super::{Check, World, failed, user_name};
use crate::model::{Ask, Done, Message, Name, Session, To};
use crate::plan::Loss;
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::log::sim::Unsynced;
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::{Engine, Outcome};
use proptest::prelude::*;
use std::sync::mpsc::{Receiver, channel};

/// What [`World::ask`] would have been told, had it waited.
type Answers = Receiver<(usize, Result<Outcome, Error>)>;

impl World {
    /// Persists; that changes nothing.
    pub fn persist(&mut self) -> Check {
        let before = self.dump()?;
        self.engine().persist().map_err(|error| failed("persist", &error))?;
        prop_assert_eq!(before, self.dump()?, "a persist changes nothing");
        self.coverage.count("persists");
        Ok(())
    }

    /// Closes and opens; that changes nothing, either.
    pub fn reopen(&mut self) -> Check {
        let before = self.dump()?;
        let engine = self.engine.take().expect("it is open");
        engine.close().map_err(|error| failed("close", &error))?;
        self.open(false)?;
        prop_assert_eq!(before, self.dump()?, "closing and opening changes nothing");
        self.coverage.count("reopens");
        self.coverage.count("clean reopens");
        self.check_everything()
    }

    /// Cuts the power and opens again. In the mode `power` nothing that was acknowledged is lost; in the mode `crash`
    /// the newest records may be. Replay gives the state as it was after the last record that is left.
    pub fn crash(&mut self, loss: Loss) -> Check {
        let before = self.dump()?;
        self.cut_power(loss);
        let engine = self.open_engine()?;
        // The opening made the last of these records.
        let left = engine.visible().0 - 1;
        let lost = self.model.visible().saturating_sub(left);
        let may_lose = self.may_lose() && loss != Loss::None;
        prop_assert!(lost == 0 || may_lose, "{} acknowledged records are lost", lost);
        let gone = self.model.records.split_off((left as usize).min(self.model.records.len()));
        self.readers.values_mut().for_each(|reader| reader.lose_after(left, &gone));
        self.adopt(engine, true)?;
        if lost == 0 {
            let after = self.dump()?;
            prop_assert_eq!(content(&before), content(&after), "replay gives the state from before the crash");
        } else {
            self.coverage.count("crashes that lost records");
        }
        self.check_everything()
    }

    /// Drops the index: the log alone gives the same state.
    pub fn replay_whole_log(&mut self) -> Check {
        let before = self.dump()?;
        self.cut_power(Loss::None);
        std::fs::remove_dir_all(self.dir.path().join("index")).expect("the index can be removed");
        self.open(true)?;
        let after = self.dump()?;
        prop_assert_eq!(content(&before), content(&after), "the log alone gives the whole state");
        self.coverage.count("whole replays");
        Ok(())
    }

    fn cut_power(&mut self, loss: Loss) {
        self.disk.crash_with(match loss {
            Loss::All => Unsynced::Lost,
            Loss::Some(seed) => Unsynced::Random(seed),
            Loss::None => Unsynced::Kept,
        });
        self.engine = None;
        self.coverage.count("crashes");
        self.coverage.count("reopens");
    }

    fn open(&mut self, is_unclean: bool) -> Check {
        let engine = self.open_engine()?;
        self.adopt(engine, is_unclean)
    }

    fn open_engine(&self) -> Check<Engine> {
        Engine::open(self.dir.path(), self.options.clone()).map_err(|error| failed("open", &error))
    }

    fn adopt(&mut self, engine: Engine, is_unclean: bool) -> Check {
        self.engine = Some(engine);
        self.model.now_ms = self.clock.load(std::sync::atomic::Ordering::SeqCst);
        self.model.reopened(is_unclean);
        self.sessions.iter_mut().for_each(|opened| opened.is_of_this_opening = false);
        self.readers.values_mut().for_each(super::Reader::disconnect);
        prop_assert_eq!(self.engine().visible().0, self.model.visible(), "visible after an opening");
        self.learn_epoch(is_unclean)
    }

    /// Each unclean opening begins an epoch; one that failed half way may have used up its number.
    fn learn_epoch(&mut self, is_unclean: bool) -> Check {
        let start =
            self.engine().sync(&user_name(0), Start::Beginning, SyncLimits { records_max: 1, ..Default::default() });
        let checkpoint = start.map_err(|error| failed("sync", &error))?.checkpoint;
        let epoch = checkpoint.map_or(self.epoch, |checkpoint| checkpoint.epoch);
        prop_assert_eq!(epoch > self.epoch, is_unclean, "epoch {} follows {}", epoch, self.epoch);
        self.epoch = epoch;
        Ok(())
    }

    fn dump(&self) -> Check<String> {
        self.engine().dump().map_err(|error| failed("dump", &error))
    }

    /// Gives a command to both while the disk may fail at any moment. False: its outcome is not known.
    pub fn ask_uncertain(&mut self, ask: &Ask) -> Check<bool> {
        self.tick();
        let (command, replaced) = self.command(ask);
        let before = self.model.clone();
        let expected = self.model.expect(ask);
        let answer = self.engine().execute(command);
        if is_unknown(&answer) {
            self.model = before;
            return Ok(false);
        }
        self.compare(ask, &expected, answer, replaced)?;
        Ok(true)
    }

    /// Persists, if the disk lets it.
    pub fn persist_uncertain(&mut self) -> Check<bool> {
        Ok(self.engine().persist().is_ok())
    }

    /// Closes and opens, if the disk lets it.
    pub fn reopen_uncertain(&mut self) -> Check<bool> {
        let engine = self.engine.take().expect("it is open");
        if engine.close().is_err() {
            return Ok(false);
        }
        let Ok(engine) = self.open_engine() else { return Ok(false) };
        self.adopt(engine, false)?;
        Ok(true)
    }

    /// The open session of a device; opens one if there is none. `None`: the disk failed.
    pub fn session_uncertain(&mut self, user: &Name, device: &Name) -> Check<Option<Session>> {
        let key = (user.clone(), device.clone());
        if !self.model.newest.contains_key(&key) {
            let ask = Ask::Open { user: user.clone(), device: device.clone(), by_service: false };
            if !self.ask_uncertain(&ask)? {
                return Ok(None);
            }
        }
        Ok(self.model.newest.get(&key).map(|number| self.sessions[*number].session.clone()))
    }

    /// Opens after a crash and finds out whether the command whose outcome was not known took effect.
    pub fn recover(&mut self, in_flight: Option<&Ask>, loss: Loss) -> Check {
        self.cut_power(loss);
        let engine = self.open_engine()?;
        let visible = engine.visible().0;
        // A close that came to its end before the power was cut was clean; any other opening makes a record.
        let is_clean = in_flight.is_none() && visible == self.model.visible();
        if visible != self.model.visible() + 1
            && let Some(ask) = in_flight
        {
            prop_assert!(self.model.expect(ask).is_ok(), "only what is accepted takes effect: {:?}", ask);
        }
        self.adopt(engine, !is_clean)?;
        self.check_everything()
    }

    /// Opens while the disk fails after so many syncs, as often as that fails, then without a fault.
    pub fn crash_while_opening(&mut self) -> Check {
        self.cut_power(Loss::All);
        for syncs in 0.. {
            self.disk.cut_after(syncs);
            let opened = Engine::open(self.dir.path(), self.options.clone());
            let is_open = opened.is_ok();
            if let Ok(engine) = opened {
                // It came as far as to write the record of its opening; whether that is durable is for the next one.
                self.model.reopened(true);
                prop_assert_eq!(engine.visible().0, self.model.visible());
            }
            self.cut_power(Loss::All);
            if is_open {
                return self.open(true);
            }
        }
        Ok(())
    }

    /// Sends of one device, submitted without waiting; with `cut` the disk fails after so many more syncs.
    pub fn burst(&mut self, user: &Name, device: &Name, sends: &[(Name, Vec<u8>)], cut: Option<(u8, Loss)>) -> Check {
        let Some(session) = self.session(user, device, false)? else { return Ok(()) };
        self.tick();
        self.coverage.count("bursts");
        let before = self.model.clone();
        let mut expected = Vec::new();
        for (conversation, body) in sends {
            let ask = self.next_send(&session, conversation, body);
            let done = self.model.expect(&ask);
            self.coverage.asked(&self.model, &ask, &done);
            expected.push((ask, done));
        }
        let Some((syncs, loss)) = cut.filter(|_| !self.may_lose()) else {
            let answers = self.submit(&expected, false)?;
            self.compare_all(&expected, answers)?;
            return cut.map_or(Ok(()), |(_, loss)| self.crash(loss));
        };
        self.disk.cut_after(syncs.into());
        let answers = self.submit(&expected, true)?;
        let acknowledged = self.count_acknowledged(&expected, answers)?;
        self.cut_power(loss);
        let accepted = self.learn_accepted(&session, &expected, before)?;
        prop_assert!(accepted >= acknowledged, "{} sends were acknowledged, {} are left", acknowledged, accepted);
        self.coverage.add("sends cut off", (expected.len() - acknowledged) as u64);
        self.check_everything()
    }

    fn next_send(&self, session: &Session, conversation: &Name, body: &[u8]) -> Ask {
        let state = self.model.state();
        let device = state.device(&session.user, &session.device).expect("it has a session");
        Ask::Send(Message {
            session: session.clone(),
            client_seq: device.numbered.len() as u64 + 1,
            to: To::Conversation(conversation.clone()),
            body: body.to_vec(),
            quote: None,
            mentions: Vec::new(),
            sent_at_ms: None,
        })
    }

    fn submit(&self, asks: &[(Ask, Result<Done, Code>)], may_fail: bool) -> Check<Answers> {
        let (sender, answers) = channel();
        for (place, (ask, _)) in asks.iter().enumerate() {
            let sender = sender.clone();
            // Nobody listens any more once a comparison failed.
            let completion = Box::new(move |answer| drop(sender.send((place, answer))));
            if let Err(error) = self.engine().submit(self.command(ask).0, completion) {
                prop_assert!(may_fail, "submit: {}", error);
                break;
            }
        }
        Ok(answers)
    }

    fn compare_all(&mut self, expected: &[(Ask, Result<Done, Code>)], answers: Answers) -> Check {
        let mut places = Vec::new();
        for (place, answer) in answers {
            places.push(place);
            let (ask, done) = &expected[place];
            self.compare(ask, done, answer, Default::default())?;
        }
        prop_assert_eq!(places, (0..expected.len()).collect::<Vec<_>>(), "every command is answered, in order");
        Ok(())
    }

    /// How many of the commands' records were acknowledged: those of the first commands, whenever the answers came.
    fn count_acknowledged(&mut self, expected: &[(Ask, Result<Done, Code>)], answers: Answers) -> Check<usize> {
        let mut answers: Vec<(usize, Result<Outcome, Error>)> = answers.into_iter().collect();
        answers.sort_by_key(|(place, _)| *place);
        let (mut acknowledged, mut is_over) = (0, false);
        for (place, answer) in answers {
            let (ask, done) = &expected[place];
            match answer {
                Err(error) if matches!(error.code, Code::OutcomeUnknown | Code::Poisoned | Code::Busy) => {
                    is_over = true
                }
                Err(error) => prop_assert_eq!(Some(error.code), done.clone().err(), "{:?}", ask),
                Ok(outcome) => {
                    prop_assert!(!is_over, "{:?} was acknowledged, and one before it was not", ask);
                    acknowledged += 1;
                    self.compare(ask, done, Ok(outcome), Default::default())?;
                }
            }
        }
        Ok(acknowledged)
    }

    /// Opens after a cut, asks for the device's last number, and lets the model accept as many sends as the engine did.
    fn learn_accepted(
        &mut self,
        session: &Session,
        expected: &[(Ask, Result<Done, Code>)],
        before: crate::model::Model,
    ) -> Check<usize> {
        let engine = self.open_engine()?;
        let devices = engine.devices(&session.user).map_err(|error| failed("devices", &error))?;
        let last = devices.iter().find(|device| device.device == session.device).map(|device| device.client_seq);
        prop_assert!(last.is_some(), "the device is still registered");
        self.model = before;
        let mut accepted = 0;
        for (ask, done) in expected {
            if let (Ask::Send(send), Ok(_)) = (ask, done) {
                if Some(send.client_seq) > last {
                    break;
                }
                accepted += 1;
            }
            let again = self.model.expect(ask);
            prop_assert_eq!(&again, done);
        }
        self.adopt(engine, true)?;
        Ok(accepted)
    }
}

fn is_unknown(answer: &Result<Outcome, Error>) -> bool {
    let is_code = |code| matches!(code, Code::OutcomeUnknown | Code::Poisoned);
    answer.as_ref().is_err_and(|error| is_code(error.code))
}

/// A dump without its first lines, which tell incarnation, last position, time and epochs.
fn content(dump: &str) -> Vec<&str> {
    dump.lines().skip(2).collect()
}
