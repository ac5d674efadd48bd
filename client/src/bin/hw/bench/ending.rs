//! When a reader ends, and what the run comes to.
//!
//! Pure. What a reader lacks is the server's fault only if the reader was connected and had caught up all the same: one
//! that has lost the server, or that nobody waits for any more, cannot tell whether it would have come.

use super::order::{Order, Violations};
use super::report::Report;
use crate::crowd::SILENCE_MAX;
use crate::failure::Failure;
use highwater_proto::error::{Code, Error};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Of each conversation the highest number that was acknowledged there.
pub(super) type Expected = BTreeMap<String, u64>;

/// What has to arrive at each user.
pub(super) type Targets = HashMap<u32, Expected>;

/// Why nothing is waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Nothing has moved for too long.
    Silence,
    /// Whoever started the run does not want to wait.
    Interrupt,
}

/// How long readers go on.
#[derive(Clone, Debug)]
pub(super) enum Until {
    /// For the time being.
    Told,
    /// Until these have come.
    Complete(Arc<Targets>),
    /// No longer; these should have come.
    GivenUp(Arc<Targets>, GivenUp),
}

/// What readers have found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) violations: Violations,
    /// Readers that were given up before they had everything, for no fault of the server's that they could see.
    pub(super) incomplete: u64,
}

impl Found {
    /// Takes another reader's in.
    pub(super) fn merge(&mut self, other: Found) {
        self.violations.merge(other.violations);
        self.incomplete += other.incomplete;
    }
}

impl Until {
    /// What a user's reader has found, if there is no point in reading on. Takes its `order` then.
    pub(super) fn ended(&self, user: u32, order: &mut Order, is_behind: bool) -> Option<Found> {
        let (targets, given_up) = match self {
            Until::Told => return None,
            Until::Complete(targets) => (targets, None),
            Until::GivenUp(targets, why) => (targets, Some(*why)),
        };
        let nothing = Expected::new();
        let expected = targets.get(&user).unwrap_or(&nothing);
        let is_complete = order.has(expected);
        let is_cut_off = match given_up {
            None if is_behind || !is_complete => return None,
            None => false,
            Some(why) => !is_complete && (is_behind || why == GivenUp::Interrupt),
        };
        let violations = std::mem::take(order).finish(if is_cut_off { &nothing } else { expected });
        Some(Found { violations, incomplete: u64::from(is_cut_off) })
    }
}

/// Whether the run succeeded. A promise that was seen broken comes before everything else; `described` says how.
pub(super) fn verdict(report: &Report, described: &[String], given_up: Option<GivenUp>) -> Result<(), Failure> {
    let violations = report.violations();
    if violations > 0 {
        return Err(Failure::mismatch(format!("{violations} violations, such as: {}", described.join("; "))));
    }
    let Report { incomplete, unanswered, acknowledged, .. } = *report;
    match given_up {
        Some(GivenUp::Silence) => Err(silent()),
        Some(GivenUp::Interrupt) if incomplete + unanswered > 0 => Err(Failure::io(format!(
            "interrupted: {incomplete} readers did not have everything yet, {unanswered} sends had no answer"
        ))),
        _ if acknowledged == 0 => Err(Failure::mismatch("nothing was acknowledged")),
        _ => Ok(()),
    }
}

/// Nothing has moved for too long.
pub(super) fn silent() -> Failure {
    Error::new(Code::Unreachable, format!("nothing came from the server for {} s", SILENCE_MAX.as_secs())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_client::Gap;

    const USER: u32 = 7;

    type Ends = fn(Arc<Targets>) -> Until;

    /// What a reader has found that got so far in the one conversation that matters, where 5 was acknowledged.
    fn ended(until: Ends, last: u64, is_behind: bool) -> Option<(u64, u64)> {
        let targets = Targets::from([(USER, Expected::from([("a".to_owned(), 5)]))]);
        let mut order = Order::default();
        order.gap(&Gap { conversation: "a".to_owned(), from_seq: 1, to_seq: last });
        let found = until(Arc::new(targets)).ended(USER, &mut order, is_behind)?;
        assert_eq!(found.violations.order, 1, "what was found before stays");
        Some((found.violations.missing, found.incomplete))
    }

    #[test]
    fn only_who_is_connected_and_has_caught_up_can_miss_something() {
        let told: Ends = |_| Until::Told;
        let complete: Ends = Until::Complete;
        let silence: Ends = |targets| Until::GivenUp(targets, GivenUp::Silence);
        let interrupt: Ends = |targets| Until::GivenUp(targets, GivenUp::Interrupt);
        let cases = [
            (told, 5, false, None),
            (complete, 5, false, Some((0, 0))),
            (complete, 5, true, None),
            (complete, 3, false, None),
            (silence, 5, false, Some((0, 0))),
            (silence, 5, true, Some((0, 0))),
            (silence, 3, false, Some((2, 0))),
            (silence, 3, true, Some((0, 1))),
            (interrupt, 5, false, Some((0, 0))),
            (interrupt, 5, true, Some((0, 0))),
            (interrupt, 3, false, Some((0, 1))),
            (interrupt, 3, true, Some((0, 1))),
        ];
        for (number, (until, last, is_behind, expected)) in cases.into_iter().enumerate() {
            assert_eq!(ended(until, last, is_behind), expected, "case {number}");
        }
        let nobody = Until::Complete(Arc::default()).ended(USER, &mut Order::default(), false);
        assert_eq!(nobody, Some(Found::default()), "a user to whom nothing was sent");
    }

    #[test]
    fn the_exit_code_says_whose_fault_it_is() {
        let good = Report { acknowledged: 5, ..Report::default() };
        let cut_off = Report { incomplete: 2, ..good.clone() };
        let broken = Report { duplicates: 1, ..cut_off.clone() };
        let silence = Some(GivenUp::Silence);
        let interrupt = Some(GivenUp::Interrupt);
        let cases = [
            (good.clone(), None, 0),
            (Report { failed: 3, ..good.clone() }, None, 0),
            (Report { missing: 1, ..good.clone() }, None, 1),
            (Report { order_violations: 1, ..good.clone() }, None, 1),
            (Report::default(), None, 1),
            (cut_off.clone(), silence, 3),
            (Report::default(), silence, 3),
            (broken.clone(), silence, 1),
            (cut_off, interrupt, 1),
            (Report { unanswered: 1, ..good.clone() }, interrupt, 1),
            (broken, interrupt, 1),
            (good, interrupt, 0),
        ];
        for (report, given_up, exit) in cases {
            let verdict = verdict(&report, &[], given_up);
            assert_eq!(verdict.map_or_else(|failure| failure.exit(), |()| 0), exit, "{given_up:?}, {report:?}");
        }
    }
}
