//! Between the wire's messages and the engine's types: what comes in is checked here, what goes out cannot fail.

mod incoming;
mod outgoing;

pub(crate) use incoming::{LastName, Speaker, command, plain_send, send_units, start, units};
pub(crate) use outgoing::{conversation, delta, device, encoded, member, outcome, record};

use highwater_proto::record::{Fanout, Kind, Role};

const KINDS: [Kind; 3] = [Kind::Direct, Kind::Group, Kind::Channel];
const ROLES: [Role; 3] = [Role::Member, Role::Admin, Role::Owner];
const FANOUTS: [Fanout; 3] = [Fanout::Auto, Fanout::Write, Fanout::Read];

/// A choice's number on the wire: its index plus 1.
fn number<T: PartialEq>(all: &[T], one: &T) -> u32 {
    all.iter().position(|other| other == one).map_or(0, |index| index as u32 + 1)
}

/// The choice with this number on the wire.
fn choice<T: Copy>(all: &[T], number: u32) -> Option<T> {
    all.get((number as usize).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests;
