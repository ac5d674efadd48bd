//! Commands that ask and print: history, members, conversations, devices.

use super::change::{end, print};
use crate::args;
use crate::connect::Login;
use crate::failure::Failure;
use crate::output::Output;
use crate::{json, text};
use highwater_client::{Page, Record};
use highwater_proto::limits::PAGE_ENTRIES_MAX;

/// Prints a conversation's records by ascending seq, as many pages as it takes.
pub(crate) async fn history(login: &Login, history: &args::History, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    let limit = history.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut page = match (history.before, history.after) {
        (Some(before), _) => Page::Before(before),
        (None, Some(after)) => Page::After(after),
        (None, None) if history.limit.is_some() => Page::Newest,
        // All of it comes in order.
        (None, None) => Page::After(0),
    };
    // Pages that go back come newest first; they are printed in the order of the conversation.
    let mut pages: Vec<Vec<Record>> = Vec::new();
    let mut count = 0;
    while count < limit {
        let asked = (limit - count).min(PAGE_ENTRIES_MAX);
        let records = client.history(&history.conversation, page, asked as u32).await?;
        let (Some(first), Some(last)) = (records.first().and_then(|r| r.seq), records.last().and_then(|r| r.seq))
        else {
            break;
        };
        count += records.len();
        if let Page::After(_) = page {
            print_records(&records, output)?;
            page = Page::After(last);
        } else {
            pages.push(records);
            page = Page::Before(first);
            if first <= 1 {
                break;
            }
        }
    }
    pages.iter().rev().try_for_each(|records| print_records(records, output))?;
    end(client, output).await
}

fn print_records(records: &[Record], output: &mut Output) -> Result<(), Failure> {
    records.iter().try_for_each(|record| output.line(|| json::record(record), || text::record(record)))
}

/// Prints a conversation's members.
pub(crate) async fn members(login: &Login, target: &args::Target, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    let mut cursor = None;
    loop {
        let page = client.members(&target.conversation, 0, cursor).await?;
        for member in &page.members {
            output.line(|| json::member(member), || text::member(member))?;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return end(client, output).await;
        }
    }
}

/// Prints the user's conversations, the most recent first.
pub(crate) async fn conversations(
    login: &Login,
    list: &args::Conversations,
    output: &mut Output,
) -> Result<(), Failure> {
    let client = login.connect().await?;
    let mut left = list.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut cursor = None;
    while left > 0 {
        let page = client.conversations(left.min(PAGE_ENTRIES_MAX) as u32, cursor).await?;
        for conversation in page.conversations.iter().take(left) {
            output.line(|| json::conversation(conversation), || text::conversation(conversation))?;
        }
        left = left.saturating_sub(page.conversations.len());
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    end(client, output).await
}

/// Prints the user's devices, or revokes one.
pub(crate) async fn devices(login: &Login, devices: &args::Devices, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    match &devices.revoke {
        Some(device) => print(&client.revoke_device(device).await?, output)?,
        None => {
            for device in &client.devices().await? {
                output.line(|| json::device(device), || text::device(device))?;
            }
        }
    }
    end(client, output).await
}
