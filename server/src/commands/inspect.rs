//! `highwater inspect`

use super::{DAMAGED, FAILED, fail};
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
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.code == Code::Corrupt => fail(DAMAGED, error),
        Err(error) => fail(FAILED, error),
    }
}

fn show_store(data: &Path) -> Result<(), Error> {
    let store = inspect(data)?;
    if let Some(holder) = &store.in_use {
        println!("in use: {holder}; what is in memory only is missing here");
    }
    println!("incarnation: {}", store.incarnation);
    println!("epoch: {}", store.epoch);
    for (epoch, end) in &store.epoch_ends {
        println!("  epoch {epoch} ended at position {end}");
    }
    println!("last position: {}", store.last);
    println!("index consistent with position: {}", store.applied);
    println!("closed: {}", if store.is_closed { "yes" } else { "no; the next opening begins a new epoch" });
    if store.is_torn {
        println!("torn: an unfinished write stands behind the log's end; that is no damage");
    }
    println!("generations: {}", list(&store.generations));
    println!("horizon: {}", store.horizon);
    println!("rows in the index, as of its position:");
    println!("  users: {}", store.users);
    println!("  devices: {}", store.devices);
    println!("  conversations: {}", store.conversations);
    println!("  member rows: {}", store.member_rows);
    println!("  edited or recalled messages: {}", store.redactions);
    println!("\n{:<16} {:>8} {:>14} {:>16}", "family", "files", "rows", "bytes");
    for family in &store.families {
        println!("{:<16} {:>8} {:>14} {:>16}", family.name, family.files, family.rows, family.bytes);
    }
    println!("\n{:<40} {:>12} {:>12} {:>6} {:>12} {:>12}", "segment", "first", "last", "epoch", "bytes", "file bytes");
    for segment in &store.segments {
        println!(
            "{:<40} {:>12} {:>12} {:>6} {:>12} {:>12}",
            segment.name, segment.first, segment.last, segment.epoch, segment.bytes, segment.file_bytes
        );
    }
    Ok(())
}

fn show_user(data: &Path, name: &str) -> Result<(), Error> {
    let user = inspect_user(data, name)?;
    println!("user: {:?}, id {}", user.user, user.id);
    println!("conversations: {} now, {} ever", user.current, user.conversations);
    println!("pulls: {}", user.follows.len());
    for conversation in &user.follows {
        println!("  {conversation:?}");
    }
    println!("devices: {}", user.devices.len());
    for (device, number, position, is_registered) in &user.devices {
        let revoked = if *is_registered { "" } else { ", revoked" };
        println!("  {device:?}: last number {number} at position {position}{revoked}");
    }
    show_chunks("inbox", user.applied, &user.chunks);
    println!("inbox above that, from the log: {}", positions(&user.replayed));
    Ok(())
}

fn show_conversation(data: &Path, name: &str) -> Result<(), Error> {
    let conversation = inspect_conversation(data, name)?;
    println!("conversation: {:?}, id {}", conversation.conversation, conversation.id);
    println!("kind: {:?}", conversation.kind);
    let settings = conversation.settings;
    println!("settings: open {}, history {}, fan-out {:?}", settings.open, settings.history, settings.fanout);
    println!("fan-out on {:?} since {} ms", conversation.mode, conversation.mode_since_ms);
    println!("head: seq {} at position {}", conversation.head, conversation.head_position);
    println!("messages: {}, recalled {}", conversation.messages, conversation.recalled);
    println!("members: {}, former {}", conversation.members, conversation.former_members);
    show_chunks("outbox", conversation.applied, &conversation.chunks);
    let replayed: Vec<_> = conversation.replayed.iter().map(|(_, position, _)| *position).collect();
    println!("outbox above that, from the log: {}", positions(&replayed));
    Ok(())
}

fn show_chunks(what: &str, applied: Position, chunks: &[ListChunk]) {
    let entries: usize = chunks.iter().map(|chunk| chunk.positions.len()).sum();
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
    println!("{what} up to position {applied}: {entries} entries, {bytes} bytes, {} chunks", chunks.len());
    for chunk in chunks {
        if chunk.first_seq.is_zero() {
            println!("  {}", positions(&chunk.positions));
        } else {
            println!("  from seq {}, {} messages: {}", chunk.first_seq, chunk.messages, positions(&chunk.positions));
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
