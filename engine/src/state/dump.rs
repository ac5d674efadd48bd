//! The canonical dump: equal states give equal text, whatever way they came about.
//!
//! Timelines stand in it only through the engine, which can read their older parts; soft state is left out.

use super::{Conversation, State};
use std::fmt::Write;

impl State {
    /// Appends everything but the timelines, one row a line, in the order of ids.
    pub(crate) fn dump(&self, out: &mut String) {
        let mut line = |text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("writing to a string cannot fail");
            out.push('\n');
        };
        line(format_args!("incarnation {} applied {} time {}", self.incarnation, self.applied, self.time_ms));
        line(format_args!("epoch {} ends {:?}", self.epoch, self.epoch_ends));
        for (index, user) in self.users.iter().enumerate() {
            line(format_args!(
                "user {} {:?} conversations {:?} current {} follows {:?} devices {:?}",
                index + 1,
                user.name,
                user.conversations,
                user.current,
                user.follows,
                user.devices,
            ));
        }
        for (index, device) in self.devices.iter().enumerate() {
            line(format_args!("device {} {device:?}", index + 1));
        }
        for (index, name) in self.names.conversation_names.iter().enumerate() {
            line(format_args!("conversation {} {name:?}", index + 1));
            if let Some(Some(conversation)) = self.conversations.get(index) {
                dump_conversation(conversation, &mut line);
            }
        }
        for (position, redaction) in &self.redactions {
            line(format_args!("redaction {position} {redaction:?}"));
        }
        line(format_args!("member rows {}", self.member_rows));
    }
}

fn dump_conversation(conversation: &Conversation, line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
    let Conversation { name: _, members, active, recalled, .. } = conversation;
    line(format_args!(
        "  {:?} {:?} creator {} head {} at {} ordinal {} mode {:?} since {} last read-mode {}",
        conversation.kind,
        conversation.settings,
        conversation.creator,
        conversation.head,
        conversation.head_position,
        conversation.ordinal,
        conversation.mode,
        conversation.mode_since_ms,
        conversation.last_read_mode,
    ));
    line(format_args!("  active {active:?} recalled {recalled:?}"));
    for (user, member) in members {
        line(format_args!("  member {user} {member:?}"));
    }
}
