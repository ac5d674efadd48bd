//! Waiting for company: whoever has just been answered mostly gives the next command at once.
//!
//! One sync serves all commands of a group. Senders that wait for answers fall apart easily: some are answered a moment
//! before the others, their next commands go first, and from then on two halves take turns, each with a sync of its own.
//! So a few commands wait for the next ones of all that were answered last; not longer than half the time that a commit
//! takes, and where company does not come, seldom.

use std::time::{Duration, Instant};

/// However slow the disk is, nobody waits longer.
const PATIENCE_MAX: Duration = Duration::from_millis(2);
/// Shorter than this no thread can be made to sleep.
const PATIENCE_MIN: Duration = Duration::from_micros(20);
/// Groups that go without waiting after it was in vain again and again.
const SKIPPED_MAX: u32 = 64;

/// Who is expected, and whether expecting has been worth it.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// How many commands will have been submitted, in all, once everybody is here.
    complete_at: u64,
    /// When they were answered, and how long they are waited for from then on.
    answered: Option<Instant>,
    patience: Duration,
    /// Groups that are still to go without waiting, and how many after the next time in vain.
    skipped: u32,
    skipped_next: u32,
}

impl Company {
    /// So many commands are about to be answered, after so many were submitted in all. Committing them began at the first
    /// of the two times.
    pub(super) fn expect(&mut self, answers: usize, submitted: u64, began: Instant, now: Instant) {
        self.complete_at = submitted + answers as u64;
        self.answered = Some(now);
        self.patience = (now.saturating_duration_since(began) / 2).min(PATIENCE_MAX);
    }

    /// Nobody is expected: others commit.
    pub(super) fn dismiss(&mut self) {
        self.answered = None;
    }

    /// How many are to have been submitted before the next group is made, and how long that may take.
    pub(super) fn awaited(&mut self, submitted: u64, now: Instant) -> Option<(u64, Duration)> {
        let left = self.patience.saturating_sub(now.saturating_duration_since(self.answered?));
        if submitted >= self.complete_at || left < PATIENCE_MIN {
            return None;
        }
        match self.skipped.checked_sub(1) {
            Some(fewer) => {
                self.skipped = fewer;
                None
            }
            None => Some((self.complete_at, left)),
        }
    }

    /// Whether everybody came.
    pub(super) fn waited(&mut self, has_come: bool) {
        self.skipped_next = if has_come { 0 } else { (2 * self.skipped_next).clamp(1, SKIPPED_MAX) };
        self.skipped = self.skipped_next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(200);

    /// How many of so many groups wait, where company comes or never does.
    fn waits(groups: usize, has_come: bool) -> usize {
        let mut company = Company::default();
        let mut waits = 0;
        for _ in 0..groups {
            let began = Instant::now();
            company.expect(10, 100, began, began + COMMIT);
            if company.awaited(105, began + COMMIT).is_some() {
                waits += 1;
                company.waited(has_come);
            }
        }
        waits
    }

    #[test]
    fn company_is_waited_for_as_long_as_it_comes() {
        assert_eq!(waits(1_000, true), 1_000);
        let in_vain = waits(1_000, false);
        assert!((2..30).contains(&in_vain), "it waited {in_vain} times in vain");
    }

    #[test]
    fn nobody_waits_who_is_alone_or_complete_or_quicker_without() {
        let mut company = Company::default();
        let began = Instant::now();
        let answered = began + COMMIT;
        assert_eq!(company.awaited(0, began), None, "nobody was answered yet");
        company.expect(1, 7, began, answered);
        assert_eq!(company.awaited(8, answered), None, "the one is here");
        assert_eq!(company.awaited(7, answered), Some((8, COMMIT / 2)));
        assert_eq!(company.awaited(7, answered + COMMIT / 4), Some((8, COMMIT / 4)), "some time has gone already");
        assert_eq!(company.awaited(7, answered + COMMIT), None, "who has not come by now does not come");
        company.expect(1, 7, began, began + PATIENCE_MIN);
        assert_eq!(company.awaited(7, began + PATIENCE_MIN), None, "a sleep would take longer than the commit");
        company.expect(1, 7, began, began + COMMIT * 1_000);
        assert_eq!(company.awaited(7, began + COMMIT * 1_000), Some((8, PATIENCE_MAX)));
        company.dismiss();
        assert_eq!(company.awaited(7, began + COMMIT * 1_000), None);
    }
}
