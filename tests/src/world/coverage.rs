//! Counters of what the random cases reached, so that a test that tests nothing is noticed.

use crate::model::{Ask, Done, Fact, Model};
use highwater_engine::proto::error::Code;
use std::collections::BTreeMap;
use std::fmt;

/// How often something was seen.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Seen once more.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Seen so many times more.
    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// How often.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Takes in other counts.
    pub fn merge(&mut self, other: &Coverage) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
    }

    /// Takes in what one case saw: its counts, and whether it saw what many cases are to see.
    pub fn absorb(&mut self, case: &Coverage) {
        self.merge(case);
        self.count("cases");
        for (seen, name) in [("reopens", "cases with a reopen"), ("mode switches", "cases with a mode switch")] {
            if case.of(seen) > 0 {
                self.count(name);
            }
        }
    }

    /// A command and what came of it.
    pub(super) fn asked(&mut self, model: &Model, ask: &Ask, answer: &Result<Done, Code>) {
        self.count("commands");
        match answer {
            Ok(Done::Receipt { position, repeated }) => {
                self.count(match (repeated, &model.record(*position).fact) {
                    (true, _) => "repeats",
                    (false, Fact::Edit { .. }) => "edits",
                    (false, Fact::Recall { .. }) => "recalls",
                    (false, _) => "messages",
                });
            }
            Ok(Done::Changed { position }) => {
                self.count("changes");
                // The mode of a conversation changes right before the record that asks for it, or right after a create.
                let around = [position - 1, position + 1];
                let is_mode = |position: &&u64| {
                    (1..=model.visible()).contains(*position) && matches!(model.record(**position).fact, Fact::Mode(_))
                };
                self.add("mode switches", around.iter().filter(is_mode).count() as u64);
            }
            Ok(Done::Unchanged(_)) => self.count("unchanged"),
            Ok(Done::Session { .. }) => self.count("sessions"),
            Err(code) => {
                self.count("refusals");
                self.count(code.as_str());
            }
        }
        if matches!(ask, Ask::Join { .. }) && answer.is_ok() {
            self.count("joins");
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:>10} {what}")?;
        }
        Ok(())
    }
}
