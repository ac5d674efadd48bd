//! In which form a page holds its records.
//!
//! Callers in the same process get entries. A server wants bytes, and most of its readers want bytes that another reader
//! was given before: for those no entry is made at all, since naming ids and moving entries about costs more than all
//! else that a page does.

use super::shown::{Scope, is_shown_as_written, weight};
use crate::entry::Entry;
use crate::log::Found;
use crate::state::State;
use bytes::Bytes;
use highwater_proto::id::UserId;
use highwater_proto::record::Fact;

/// A form of records.
pub(crate) trait Form {
    /// A record in this form.
    type Row;

    /// What the user sees of a record, and what it weighs, where that is at hand. `None` says nothing: it may be seen or
    /// not.
    fn at_hand(&self, state: &State, user: UserId, record: &Found) -> Option<(Self::Row, usize)>;

    /// An entry in this form, and its weight.
    fn of(&self, entry: Entry) -> (Self::Row, usize);
}

/// Entries as they are.
pub(crate) struct Entries;

impl Form for Entries {
    type Row = Entry;

    fn at_hand(&self, _: &State, _: UserId, _: &Found) -> Option<(Entry, usize)> {
        None
    }

    fn of(&self, entry: Entry) -> (Entry, usize) {
        let weight = weight(&entry);
        (entry, weight)
    }
}

/// What entries are encoded to, kept for other readers where they see the same.
pub(crate) struct Encoded<'a>(pub(crate) &'a dyn Fn(Entry) -> Bytes);

impl Form for Encoded<'_> {
    type Row = Bytes;

    fn at_hand(&self, state: &State, user: UserId, record: &Found) -> Option<(Bytes, usize)> {
        // Plain messages are what there is much of, and what they weigh shows without names.
        let Fact::Message(message) = &record.fact else { return None };
        if !message.mentions.is_empty() {
            return None;
        }
        let bytes = record.kept()?.encoded().get()?;
        is_shown_as_written(state, user, record, Scope::Intervals).then(|| (bytes.clone(), message.body.len()))
    }

    fn of(&self, mut entry: Entry) -> (Bytes, usize) {
        let weight = weight(&entry);
        let common = std::mem::take(&mut entry.common);
        let bytes = match common.encoded() {
            Some(place) => place.get_or_init(|| (self.0)(entry)).clone(),
            None => (self.0)(entry),
        };
        (bytes, weight)
    }
}
