//! Lines for people.
//!
//! Texts and names come from others: control characters could move the cursor or fake lines, bidirectional ones could
//! show a text in another order than it was written. Both are shown as escapes.

use bytes::Bytes;
use highwater_client::{Change, Content, Conversation, Device, Gap, Member, Receipt, Record};
use highwater_proto::record::{Fanout, Kind, Role};
use std::borrow::Cow;
use std::fmt::Write;

/// The text with control and bidirectional characters as escapes; line breaks and tabs too.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_unsafe(char) { escaped.extend(char.escape_default()) } else { escaped.push(char) }
    }
    Cow::Owned(escaped)
}

fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separator: some terminals break lines there.
            | '\u{2028}' | '\u{2029}')
}

/// A record: time, conversation and seq, author, what happened.
pub(crate) fn record(record: &Record) -> String {
    let mut line = format!("{}  {}", time(record.time_ms), escape(&record.conversation));
    if let Some(seq) = record.seq {
        let _ = write!(line, " #{seq}");
    }
    let _ = write!(line, "  {}", record.from.as_deref().map_or(Cow::Borrowed("(service)"), escape));
    if record.by_service && record.from.is_some() {
        line.push_str(" (by service)");
    }
    line.push_str(": ");
    line.push_str(&content(&record.content));
    line
}

fn content(content: &Content) -> String {
    let names = |members: &[String]| members.iter().map(|name| escape(name)).collect::<Vec<_>>().join(", ");
    match content {
        Content::Message(text) => {
            let mut line = String::new();
            if let Some(quote) = text.quote {
                let _ = write!(line, "[answers #{quote}] ");
            }
            line.push_str(&body(text.body.as_ref()));
            if text.edited_ms.is_some() {
                line.push_str(" (edited)");
            }
            line
        }
        Content::Create { kind, owner, members, .. } => {
            let owner = owner.as_deref().map_or(Cow::Borrowed("nobody"), escape);
            format!("created this {} of {owner} with {}", kind_name(*kind), names(members))
        }
        Content::Add { members } => format!("added {}", names(members)),
        Content::Remove { members } => format!("removed {}", names(members)),
        Content::Join { .. } => "joined".to_owned(),
        Content::Leave { .. } => "left".to_owned(),
        Content::Role { user, role } => format!("made {} {}", escape(user), role_name(*role)),
        Content::Edit { target, body: new } => format!("edited #{target}: {}", body(new.as_ref())),
        Content::Recall { target } => format!("recalled #{target}"),
        Content::Read { through } => format!("has read up to #{through}"),
        Content::Settings { open, history, fanout } => {
            format!("settings: open {}, history {}, fan-out {}", on(*open), on(*history), fanout_name(*fanout))
        }
        Content::Mute { muted } => if *muted { "muted this" } else { "unmuted this" }.to_owned(),
        Content::Revoke => "revoked the device".to_owned(),
        Content::User { user } => format!("made {} known", escape(user)),
        Content::Unknown { kind } => format!("something that this build does not know (kind {kind})"),
    }
}

fn body(body: Option<&Bytes>) -> String {
    match body.map(|bytes| std::str::from_utf8(bytes)) {
        None => "(recalled)".to_owned(),
        Some(Ok(text)) => escape(text).into_owned(),
        Some(Err(_)) => format!("({} bytes that are not text)", body.map_or(0, Bytes::len)),
    }
}

/// Messages that were left out.
pub(crate) fn gap(gap: &Gap) -> String {
    format!("... {} #{} to #{} left out", escape(&gap.conversation), gap.from_seq, gap.to_seq)
}

/// A conversation in a list.
pub(crate) fn conversation(conversation: &Conversation) -> String {
    let role = conversation.role.map_or("former", role_name);
    let mut line = format!(
        "{}  {} as {role}, {} unread, read #{} of #{}",
        escape(&conversation.conversation),
        kind_name(conversation.kind),
        conversation.unread,
        conversation.read,
        conversation.head,
    );
    if conversation.muted {
        line.push_str(", muted");
    }
    if let Some(last) = &conversation.last {
        let _ = write!(line, "\n    {}", record(last));
    }
    line
}

/// A member in a list.
pub(crate) fn member(member: &Member) -> String {
    let ranges: Vec<String> = member.ranges.iter().map(|range| format!("#{}-{}", range.first, range.last)).collect();
    format!("{}  {}  {}", escape(&member.user), member.role.map_or("former", role_name), ranges.join(" "))
}

/// A device in a list.
pub(crate) fn device(device: &Device) -> String {
    let seen = if device.last_seen_ms == 0 { Cow::Borrowed("never seen") } else { time(device.last_seen_ms).into() };
    format!("{}  last number {}, position {}, {seen}", escape(&device.device), device.client_seq, device.position)
}

/// A send's receipt.
pub(crate) fn receipt(receipt: &Receipt) -> String {
    let repeated = if receipt.repeated { ", accepted before" } else { "" };
    format!("{} #{} (position {}{repeated})", escape(&receipt.conversation), receipt.seq, receipt.position)
}

/// What a command has changed.
pub(crate) fn change(change: &Change) -> String {
    match change {
        Change::Changed(changed) => record(changed),
        Change::Unchanged { conversation } if conversation.is_empty() => "nothing to change".to_owned(),
        Change::Unchanged { conversation } => format!("{}: nothing to change", escape(conversation)),
    }
}

/// The name of a kind of conversation, here and in JSON.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "direct",
        Kind::Group => "group",
        Kind::Channel => "channel",
    }
}

/// The name of a role, here and in JSON.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

/// The name of a fan-out setting, here and in JSON.
pub(crate) fn fanout_name(fanout: Fanout) -> &'static str {
    match fanout {
        Fanout::Auto => "auto",
        Fanout::Write => "write",
        Fanout::Read => "read",
    }
}

fn on(setting: bool) -> &'static str {
    if setting { "on" } else { "off" }
}

/// A time as `2026-11-21 03:04:05Z`.
fn time(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of the year 0, so that leap days come last; 146,097 days make 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_client::Text;

    #[test]
    fn what_could_deceive_is_escaped() {
        for (given, shown) in [
            ("plain ünïcode 不在 🙂", "plain ünïcode 不在 🙂"),
            ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\u{0}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}evil\u{2066}\u{200f}\u{61c}", "\\u{202e}evil\\u{2066}\\u{200f}\\u{61c}"),
            ("\u{2028}x", "\\u{2028}x"),
        ] {
            assert_eq!(escape(given), shown);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (time_ms, shown) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_251_200_000, "2024-03-01 00:00:00Z"),
            (1_798_761_599_000, "2026-12-31 23:59:59Z"),
        ] {
            assert_eq!(time(time_ms), shown);
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let message = Record {
            position: 9,
            conversation: "a\u{202e}b".to_owned(),
            seq: Some(3),
            from: Some("x".to_owned()),
            device: None,
            time_ms: 0,
            by_service: false,
            content: Content::Message(Text { body: Some(Bytes::from("one\ntwo")), ..Text::default() }),
        };
        assert_eq!(record(&message), "1970-01-01 00:00:00Z  a\\u{202e}b #3  x: one\\ntwo");
    }
}
