//! The part of the sequencer that changes modes of fan-out of its own accord, as the planner wants.

use super::Sequencer;
use crate::commit::ahead::Known;
use crate::commit::group::Group;
use crate::commit::planner;
use crate::commit::rules::Draft;
use crate::state::State;
use highwater_proto::id::UserId;

impl Sequencer {
    /// Keeps the conversation's account, and remembers if it should change its mode.
    pub(super) fn plan(&mut self, draft: &Draft, state: &State, time_ms: u64) {
        if !draft.fact.is_countable() {
            return;
        }
        let Some(conversation) = planner::plannable(state, draft.conversation) else { return };
        let thresholds = self.shared.options.fanout;
        let max = thresholds.write_members_max;
        let wanted = self.planner.note(draft.conversation, conversation, &self.shared.pulls, max);
        if let Some(mode) = wanted.filter(|_| planner::has_dwelt(conversation, time_ms, thresholds.dwell_ms_min)) {
            self.planned.push((draft.conversation, mode));
        }
    }

    /// The mode records that the planner wants, at the end of a group. What is not possible now is wanted again later.
    pub(super) fn change_modes(&mut self, state: &State, time_ms: u64, group: &mut Group) {
        for (id, mode) in std::mem::take(&mut self.planned) {
            let known = Known { state, ahead: &self.ahead };
            let may = planner::plannable(state, id).is_some_and(|row| row.mode != mode) && known.is_past_barriers(id);
            let draft = Draft::mode((UserId::ZERO, true), id, mode);
            if may && self.reserve(std::slice::from_ref(&draft)).is_ok() {
                group.bytes_max += draft.bytes_max() as usize;
                self.assign(draft, state, time_ms, group);
            }
        }
    }
}
