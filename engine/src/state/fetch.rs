//! Fetching rows before they are needed.
//!
//! A command, and later its record, is about ten cache lines or so, each found through the one before: a row, its members,
//! a name. Among many users none of them is in the processor's cache, and whoever looks at one command after the other
//! waits for all of them in turn. Here the rows of several are touched side by side, so that the processor fetches them at
//! the same time.

use super::State;
use highwater_proto::id::{ConversationId, DeviceId, UserId};
use std::hint::black_box;

/// Rows are fetched for so many commands at a time: as many cache misses as a processor keeps under way.
pub(crate) const SIDE_BY_SIDE: usize = 16;
/// Inboxes of so many members are touched; of more, a fan-out fetches several at once by itself.
const INBOXES_MAX: usize = 2;

/// What a command or record is about; zero for none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) conversation: ConversationId,
}

impl State {
    /// Touches the rows of what is about to be looked at. It changes nothing.
    pub(crate) fn fetch_rows(&self, about: &[About]) {
        // What is read is of no interest; that it is combined, and looked at in the end, keeps the reads from being left out.
        let mut seen = 0;
        for about in about {
            seen ^= self.device(about.device).map_or(0, |device| device.last_client_seq);
            if let Some(row) = self.conversation(about.conversation) {
                seen ^= row.head.0 ^ row.mode_since_ms ^ row.members.len() as u64 ^ row.active.len() as u64;
            }
        }
        for about in about {
            let Some(row) = self.conversation(about.conversation) else { continue };
            seen ^= u64::from(row.name.as_bytes().first().copied().unwrap_or_default());
            seen ^= row.active.first().map_or(0, |user| u64::from(user.0));
            seen ^= row.members.get(&about.user).map_or(0, |member| member.own_last.0);
        }
        black_box(seen);
    }

    /// Touches the ends of the lists that will be appended to. It changes nothing.
    pub(crate) fn fetch_lists(&self, about: &[About]) {
        let mut seen = 0;
        for about in about {
            seen ^= self.head.touch_outbox(about.conversation);
            let Some(row) = self.conversation(about.conversation) else { continue };
            for user in row.active.iter().take(INBOXES_MAX) {
                seen ^= self.head.touch_inbox(*user);
            }
        }
        black_box(seen);
    }
}
