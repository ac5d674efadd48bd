//! `highwater inspect`

use super::{DAMAGED, FAILED, fail, print};
use highwater_engine::inspect::{ListChunk, inspect, inspect_conversation, inspect_user};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Position;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Shows this user's devices and inbox instead
    #[arg(long, conflicts_with = "conversation")]
    user: Option<String>,
    /// Shows this conversation's settings and outbox instead
    #[arg(long)]
    conversation: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let shown = match (&arguments.user, &arguments.conversation) {
        (Some(user), _) => show_user(&arguments.data, user),
        (None, Some(conversation)) => show_conversation(&arguments.data, conversation),
        (None, None) => show_store(&arguments.data),
    };
    match shown.map(|text| print(&text)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(FAILED, error),
        Err(error) if error.code == Code::Corrupt => fail(DAMAGED, error),
        Err(error) => fail(FAILED, error),
    }
}

/// Appends a line. Writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($text:tt)+) => {
        let _ = writeln!($out, $($text)+);
    };
}

fn show_store(data: &Path) -> Result<String, Error> {
    let mut out = String::new();
    let store = inspect(data)?;
    if let Some(holder) = &store.in_use {
        line!(out, "in use: {holder}; what is in memory only is missing here");
    }
    line!(out, "incarnation: {}", store.incarnation);
    line!(out, "epoch: {}", store.epoch);
    for (epoch, end) in &store.epoch_ends {
        line!(out, "  epoch {epoch} ended at position {end}");
    }
    line!(out, "last position: {}", store.last);
    line!(out, "index consistent with position: {}", store.applied);
    line!(out, "closed: {}", if store.is_closed { "yes" } else { "no; the next opening begins a new epoch" });
    if store.is_torn {
        line!(out, "torn: an unfinished write stands behind the log's end; that is no damage");
    }
    line!(out, "generations: {}", list(&store.generations));
    line!(out, "horizon: {}", store.horizon);
    line!(out, "rows in the index, as of its position:");
    line!(out, "  users: {}", store.users);
    line!(out, "  devices: {}", store.devices);
    line!(out, "  conversations: {}", store.conversations);
    line!(out, "  member rows: {}", store.member_rows);
    line!(out, "  edited or recalled messages: {}", store.redactions);
    line!(out, "\n{:<16} {:>8} {:>14} {:>16}", "family", "files", "rows", "bytes");
    for family in &store.families {
        line!(out, "{:<16} {:>8} {:>14} {:>16}", family.name, family.files, family.rows, family.bytes);
    }
    line!(
        out,
        "\n{:<40} {:>12} {:>12} {:>6} {:>12} {:>12}",
        "segment",
        "first",
        "last",
        "epoch",
        "bytes",
        "file bytes"
    );
    for segment in &store.segments {
        line!(
            out,
            "{:<40} {:>12} {:>12} {:>6} {:>12} {:>12}",
            segment.name,
            segment.first,
            segment.last,
            segment.epoch,
            segment.bytes,
            segment.file_bytes
        );
    }
    Ok(out)
}

fn show_user(data: &Path, name: &str) -> Result<String, Error> {
    let mut out = String::new();
    let user = inspect_user(data, name)?;
    line!(out, "user: {:?}, id {}", user.user, user.id);
    line!(out, "conversations: {} now, {} ever", user.current, user.conversations);
    line!(out, "pulls: {}", user.follows.len());
    for conversation in &user.follows {
        line!(out, "  {conversation:?}");
    }
    line!(out, "devices: {}", user.devices.len());
    for (device, number, position, is_registered) in &user.devices {
        let revoked = if *is_registered { "" } else { ", revoked" };
        line!(out, "  {device:?}: last number {number} at position {position}{revoked}");
    }
    show_chunks(&mut out, "inbox", user.applied, &user.chunks);
    line!(out, "inbox above that, from the log: {}", positions(&user.replayed));
    Ok(out)
}

fn show_conversation(data: &Path, name: &str) -> Result<String, Error> {
    let mut out = String::new();
    let conversation = inspect_conversation(data, name)?;
    line!(out, "conversation: {:?}, id {}", conversation.conversation, conversation.id);
    line!(out, "kind: {:?}", conversation.kind);
    let settings = conversation.settings;
    line!(out, "settings: open {}, history {}, fan-out {:?}", settings.open, settings.history, settings.fanout);
    line!(out, "fan-out on {:?} since {} ms", conversation.mode, conversation.mode_since_ms);
    line!(out, "head: seq {} at position {}", conversation.head, conversation.head_position);
    line!(out, "messages: {}, recalled {}", conversation.messages, conversation.recalled);
    line!(out, "members: {}, former {}", conversation.members, conversation.former_members);
    show_chunks(&mut out, "outbox", conversation.applied, &conversation.chunks);
    let replayed: Vec<_> = conversation.replayed.iter().map(|(_, position, _)| *position).collect();
    line!(out, "outbox above that, from the log: {}", positions(&replayed));
    Ok(out)
}

fn show_chunks(out: &mut String, what: &str, applied: Position, chunks: &[ListChunk]) {
    let entries: usize = chunks.iter().map(|chunk| chunk.positions.len()).sum();
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
    line!(out, "{what} up to position {applied}: {entries} entries, {bytes} bytes, {} chunks", chunks.len());
    for chunk in chunks {
        if chunk.first_seq.is_zero() {
            line!(out, "  {}", positions(&chunk.positions));
        } else {
            line!(out, "  from seq {}, {} messages: {}", chunk.first_seq, chunk.messages, positions(&chunk.positions));
        }
    }
}

/// Ascending positions, with runs drawn together: `1-4 7 9-10`.
fn positions(positions: &[Position]) -> String {
    let mut text = String::new();
    for run in positions.chunk_by(|before, after| before.next() == *after) {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match run {
            [one] => write!(text, "{separator}{one}"),
            [first, .., last] => write!(text, "{separator}{first}-{last}"),
            [] => Ok(()),
        };
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_drawn_together() {
        let text = |numbers: &[u64]| positions(&numbers.iter().copied().map(Position).collect::<Vec<_>>());
        assert_eq!(text(&[]), "none");
        assert_eq!(text(&[5]), "5");
        assert_eq!(text(&[1, 2, 3, 5, 8, 9]), "1-3 5 8-9");
    }
}
