//! Family `outbox.1`: a conversation's timeline, the positions of its records by seq.
//!
//! Key: conversation, seq of the chunk's first entry. Value: a packed outbox list of 1 to [`PACKED_ENTRIES_MAX`]
//! entries: position, and whether it is countable. Entry i has the seq of the key plus i; the first position stands in
//! the list as it is, not as a distance.

use super::codec::{decode_list_key, list_key};
use crate::state::OutboxEntry;
use highwater_proto::error::Damage;
use highwater_proto::id::{ConversationId, Seq};
use highwater_proto::limits::PACKED_ENTRIES_MAX;
use highwater_proto::packed;

/// Entries of consecutive seqs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) conversation: ConversationId,
    pub(super) first: Seq,
    /// At least one.
    pub(super) entries: Vec<OutboxEntry>,
}

impl Chunk {
    /// The seq after the last entry's.
    pub(super) fn end(&self) -> Seq {
        Seq(self.first.0 + self.entries.len() as u64)
    }
}

/// Above every key of the conversation, and with the same prefix.
pub(super) fn end_key(conversation: ConversationId) -> [u8; 12] {
    key(conversation, Seq(u64::MAX))
}

pub(super) fn key(conversation: ConversationId, first: Seq) -> [u8; 12] {
    list_key(conversation.0, first.0)
}

/// The rows that hold these entries, the first of which has the seq `first`, in the order of their keys.
pub(super) fn rows(
    conversation: ConversationId,
    first: Seq,
    entries: &[OutboxEntry],
) -> impl Iterator<Item = ([u8; 12], Vec<u8>)> {
    entries.chunks(PACKED_ENTRIES_MAX).enumerate().map(move |(index, chunk)| {
        let mut value = Vec::new();
        packed::pack_outbox(chunk.iter().map(|entry| (entry.position, entry.countable)), &mut value);
        let skipped = (index * PACKED_ENTRIES_MAX) as u64;
        (key(conversation, Seq(first.0 + skipped)), value)
    })
}

/// Reads a row.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Chunk, Damage> {
    let (conversation, first) = decode_list_key(key)?;
    let entries: Vec<OutboxEntry> = packed::unpack_outbox(value)?
        .into_iter()
        .map(|(position, countable)| OutboxEntry { position, countable })
        .collect();
    if entries.is_empty() || first == 0 || first.checked_add(entries.len() as u64).is_none() {
        return Err(Damage::new(format!("{} entries begin at seq {first}", entries.len())));
    }
    Ok(Chunk { conversation: ConversationId(conversation), first: Seq(first), entries })
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;
    use highwater_proto::id::Position;

    fn entries(count: u64) -> Vec<OutboxEntry> {
        (1..=count).map(|n| OutboxEntry { position: Position(n * 5), countable: n % 3 != 0 }).collect()
    }

    #[test]
    fn golden_bytes() {
        let rows: Vec<_> = rows(ConversationId(258), Seq(7), &entries(3)).collect();
        let key = [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(rows, [(key, vec![3, 9, 9, 8])]);
        let chunk = Chunk { conversation: ConversationId(258), first: Seq(7), entries: entries(3) };
        assert_eq!(chunk.end(), Seq(10));
        assert_eq!(decode(&key, &rows[0].1), Ok(chunk));
    }

    #[test]
    fn chunks_are_cut_at_the_limit() {
        for (count, firsts) in
            [(0, vec![]), (511, vec![4]), (512, vec![4]), (513, vec![4, 516]), (1025, vec![4, 516, 1028])]
        {
            let entries = entries(count);
            let rows: Vec<_> = rows(ConversationId(1), Seq(4), &entries).collect();
            check::ascend(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
            let chunks: Vec<Chunk> = rows.iter().map(|(key, value)| decode(key, value).expect("own row")).collect();
            assert_eq!(chunks.iter().map(|chunk| chunk.first.0).collect::<Vec<_>>(), firsts);
            assert_eq!(chunks.into_iter().flat_map(|chunk| chunk.entries).collect::<Vec<_>>(), entries);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let (key, value) = rows(ConversationId(1), Seq(1), &entries(3)).next().expect("one row");
        check::refuses_all_but(&key, |key| decode(key, &value));
        check::refuses_all_but(&value, |value| decode(&key, value));
        assert!(decode(&key, &[0]).is_err(), "an empty chunk");
        assert!(decode(&super::key(ConversationId(1), Seq(0)), &value).is_err(), "seq 0");
        assert!(decode(&end_key(ConversationId(1)), &value).is_err(), "seqs that overflow");
    }
}
