//! What may be written on the command line.

mod values;

use clap::{ArgGroup, Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
pub(crate) use values::{FanoutArg, KindArg, RoleArg, Switch, VerifyUsers};

/// Talks to a Highwater server: sends, reads, follows, and replays data sets.
///
/// Whom you are: with --dev DIR a token is minted for the user of --as and the device of --device; without --as (and for
/// what only a service may do: `create --owner`, `settings --fanout`) a service token. Without --dev the token comes from
/// --token-file or HIGHWATER_TOKEN, and says itself whose it is.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 not allowed or not found.
#[derive(Debug, Parser)]
#[command(name = "hw", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The server's address [default: with --dev, where the server of that directory listens]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// The user to be
    #[arg(id = "as", long = "as", global = true, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The device to be [default: the token's, else cli]
    #[arg(long, global = true, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Data directory of a server in dev mode: its certificate is trusted, and tokens are minted with its key
    #[arg(long, global = true, value_name = "DIR", conflicts_with_all = ["ca", "pin", "token_file"])]
    pub(crate) dev: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that are trusted
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "pin")]
    pub(crate) ca: Option<PathBuf>,
    /// SHA-256 of the server's certificate (DER), in hexadecimal digits: this certificate alone is trusted
    #[arg(long, global = true, value_name = "HASH")]
    pub(crate) pin: Option<String>,
    /// File with a token; without it, the environment's HIGHWATER_TOKEN is the token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where checkpoint and unsent messages are kept [default: in the XDG state directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// One JSON object per line, and errors as one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a message; it goes out once, however often it has to be repeated
    Send(Send),
    /// Create a conversation
    Create(Create),
    /// Make others members
    Add(Members),
    /// Make others leave
    Remove(Members),
    /// Become a member of an open channel
    Join(Target),
    /// Stop being a member
    Leave(Target),
    /// List a conversation's members
    Members(Target),
    /// Change a member's role
    Role(SetRole),
    /// Change a conversation's settings
    Settings(Settings),
    /// Mute a conversation for oneself, or unmute it
    Mute(Mute),
    /// Read what is new since the last time, until caught up
    Sync(Sync),
    /// Sync, then go on with what is new
    Tail(Tail),
    /// Read a conversation by its numbers
    History(History),
    /// List one's conversations, the most recent first
    Conversations(Conversations),
    /// Move one's read mark
    Read(Message),
    /// Give a message a new text
    Edit(Edit),
    /// Withdraw a message
    Recall(Message),
    /// List one's devices, or revoke one
    Devices(Devices),
    /// Play a data set through real connections and verify what arrives
    Replay(Replay),
    /// Write a made-up data set
    Sample(Sample),
    /// Load a server as a workload file says, measure it, and check what arrives
    Bench(Bench),
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("recipient").args(["to", "conversation"]))]
pub(crate) struct Send {
    /// The other user of a direct conversation, or oneself
    #[arg(long, value_name = "USER")]
    pub(crate) to: Option<String>,
    /// A conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<String>,
    /// The number of the message that this one answers
    #[arg(long, value_name = "SEQ")]
    pub(crate) quote: Option<u64>,
    /// A member whose attention the message asks for; may be repeated
    #[arg(long, value_name = "USER")]
    pub(crate) mention: Vec<String>,
    /// Deliver what earlier runs could not; without a text, nothing else
    #[arg(long)]
    pub(crate) flush: bool,
    /// Do not keep the message if the server cannot be reached (unless its outcome is unknown)
    #[arg(long)]
    pub(crate) no_queue: bool,
    /// The text, or - for standard input
    #[arg(allow_hyphen_values = true, required_unless_present = "flush", requires = "recipient")]
    pub(crate) text: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// What kind of conversation
    #[arg(long)]
    pub(crate) kind: KindArg,
    /// Its id; only a direct conversation has one of its own
    #[arg(long, value_name = "ID", required_if_eq_any = [("kind", "group"), ("kind", "channel")])]
    pub(crate) id: Option<String>,
    /// Its owner, named by a service; users own what they create
    #[arg(long, value_name = "USER")]
    pub(crate) owner: Option<String>,
    /// A member besides the owner; may be repeated
    #[arg(long, value_name = "USER")]
    pub(crate) member: Vec<String>,
    /// File with a member on each line
    #[arg(long, value_name = "FILE")]
    pub(crate) members_file: Option<PathBuf>,
    /// Anyone may join (channels)
    #[arg(long)]
    pub(crate) open: bool,
    /// New members may read what came before
    #[arg(long)]
    pub(crate) history: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Members {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
    /// A user; may be repeated
    #[arg(long, visible_alias = "user", value_name = "USER", required_unless_present = "members_file")]
    pub(crate) member: Vec<String>,
    /// File with a user on each line
    #[arg(long, value_name = "FILE")]
    pub(crate) members_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
}

#[derive(Args, Debug)]
pub(crate) struct SetRole {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
    /// The member
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// The role from now on
    pub(crate) role: RoleArg,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("change").args(["open", "history", "fanout"]).multiple(true).required(true))]
pub(crate) struct Settings {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
    /// Whether anyone may join (channels)
    #[arg(long, value_name = "on|off")]
    pub(crate) open: Option<Switch>,
    /// Whether new members may read what came before
    #[arg(long, value_name = "on|off")]
    pub(crate) history: Option<Switch>,
    /// How new messages are fanned out; only a service may say so
    #[arg(long)]
    pub(crate) fanout: Option<FanoutArg>,
}

#[derive(Args, Debug)]
pub(crate) struct Mute {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
    /// Whether it is muted from now on
    #[arg(value_name = "on|off", default_value = "on")]
    pub(crate) muted: Switch,
}

#[derive(Args, Debug)]
pub(crate) struct Sync {
    /// Ignore the stored checkpoint, and read everything
    #[arg(long, conflicts_with = "snapshot")]
    pub(crate) from_start: bool,
    /// Ignore the stored checkpoint, and begin with the list of conversations instead of their records
    #[arg(long)]
    pub(crate) snapshot: bool,
    /// Of a conversation with more new messages than this, leave the older ones out and say so
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cap: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Tail {
    /// End after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// End after so many seconds
    #[arg(long, value_name = "S")]
    pub(crate) timeout: Option<f64>,
}

#[derive(Args, Debug)]
pub(crate) struct History {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
    /// Only what is below this number, the nearest
    #[arg(long, value_name = "SEQ", conflicts_with = "after")]
    pub(crate) before: Option<u64>,
    /// Only what is above this number, the nearest
    #[arg(long, value_name = "SEQ")]
    pub(crate) after: Option<u64>,
    /// At most so many records [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Conversations {
    /// At most so many [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Message {
    /// The conversation's id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: String,
    /// The message's number
    #[arg(long, value_name = "N")]
    pub(crate) seq: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Edit {
    #[command(flatten)]
    pub(crate) message: Message,
    /// The new text, or - for standard input
    #[arg(allow_hyphen_values = true)]
    pub(crate) text: OsString,
}

#[derive(Args, Debug)]
pub(crate) struct Devices {
    /// Revoke this device
    #[arg(long, value_name = "DEVICE")]
    pub(crate) revoke: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// Who said what (JSON Lines, plain or compressed with Zstandard)
    #[arg(long, value_name = "FILE")]
    pub(crate) events: PathBuf,
    /// Who is in which conversation (JSON Lines, plain or compressed with Zstandard)
    #[arg(long, value_name = "FILE")]
    pub(crate) members: PathBuf,
    /// Only the first N conversations of the members file
    #[arg(long, value_name = "N")]
    pub(crate) conversations: Option<usize>,
    /// Verify so many users, or all
    #[arg(long, value_name = "N|all", default_value = "50", value_parser = VerifyUsers::parse)]
    pub(crate) verify_users: VerifyUsers,
    /// Most sessions at a time, from 1 (above 900 as 900); each has a socket and some MiB of buffers
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sessions: u32,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Sample {
    /// The same seed makes the same data set
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    /// How many conversations
    #[arg(long, value_name = "N", default_value = "300", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) conversations: u32,
    /// How many messages
    #[arg(long, value_name = "N", default_value = "20000", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) messages: u32,
    /// Directory for events.jsonl and members.jsonl
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// The workload (TOML, or JSON): who there is, what they send, how fast and for how long
    #[arg(long, value_name = "FILE")]
    pub(crate) workload: PathBuf,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn whom_a_command_is_about_is_not_who_gives_it() {
        let line = "hw --as ann role --conversation c --user bob admin";
        let cli = Cli::try_parse_from(line.split(' ')).expect("is understood");
        assert_eq!(cli.global.user.as_deref(), Some("ann"));
        let Command::Role(role) = cli.command else { panic!("another command") };
        assert_eq!(role.user, "bob");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (line, good) in [
            ("hw send --to bob hi", true),
            ("hw --as a send --conversation c -", true),
            ("hw send --to bob -5", true),
            ("hw send --flush", true),
            ("hw send --to bob", false),
            ("hw send hi", false),
            ("hw send --to bob --conversation c hi", false),
            ("hw create --kind group --id g --member a --member b --history", true),
            ("hw create --kind direct --member a", true),
            ("hw create --kind group --member a", false),
            ("hw create --kind crowd --id g", false),
            ("hw add --conversation c", false),
            ("hw add --conversation c --members-file f", true),
            ("hw role --conversation c --user u admin", true),
            ("hw role --conversation c --user u king", false),
            ("hw settings --conversation c", false),
            ("hw settings --conversation c --open on --fanout read", true),
            ("hw mute --conversation c", true),
            ("hw mute --conversation c off", true),
            ("hw sync --from-start --snapshot", false),
            ("hw sync --cap 0", false),
            ("hw tail --count 3 --timeout 1.5 --json", true),
            ("hw history --conversation c --before 3 --after 1", false),
            ("hw history --conversation c --limit 0", false),
            ("hw edit --conversation c --seq 3 text", true),
            ("hw recall --conversation c --seq 3", true),
            ("hw replay --events e --members m --verify-users all --sessions 1", true),
            ("hw replay --events e --members m --verify-users 0", false),
            ("hw replay --events e --members m --sessions 0", false),
            ("hw bench --workload w --report r --json", true),
            ("hw bench", false),
            ("hw --dev d --pin 00 sync", false),
            ("hw", false),
        ] {
            assert_eq!(parses(line), good, "{line}");
        }
    }
}
