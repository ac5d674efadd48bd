//! `send`, `edit` and `recall`: what a device numbers, and delivers once however often it has to be repeated.

use super::change::end;
use super::timeline::lost;
use crate::args;
use crate::connect::{Login, PATIENCE};
use crate::failure::Failure;
use crate::output::Output;
use crate::{json, text};
use bytes::Bytes;
use highwater_client::{Client, Content, Message, Numbered, Quote, Receipt, Recipient, Record, Sending, SessionKind};
use highwater_proto::error::{Code, Error};
use highwater_proto::limits::BODY_BYTES_CONFIGURABLE_MAX;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Time between two looks at a queue that another program holds.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Sends a message, after what earlier runs left; or, without a text, only that.
pub(crate) async fn send(login: &Login, send: args::Send, output: &mut Output) -> Result<(), Failure> {
    let message = message(&send)?;
    let client = start(login).await?;
    let connected = client.connected().await;
    let Some(message) = message else {
        connected?;
        flush(&client, output).await?;
        return end(client, output).await;
    };
    if let Err(error) = connected {
        return Err(refuse(client, error, message, send.no_queue).await);
    }
    // It is queued before the earlier ones are waited for, so that it is not lost with them.
    let mut sending = client.enqueue(Numbered::Send(message)).await?;
    let receipt = match answer_in_turn(&client, &mut sending, output).await {
        Ok(receipt) => receipt,
        Err(failure) => return Err(withdraw(client, &sending, failure, send.no_queue).await),
    };
    output.line(|| json::receipt(&receipt), || text::receipt(&receipt))?;
    end(client, output).await
}

/// Gives a message a new text, and prints the record of that.
pub(crate) async fn edit(login: &Login, edit: args::Edit, output: &mut Output) -> Result<(), Failure> {
    let body = body(&edit.text)?;
    let args::Message { conversation, seq: target } = edit.message;
    let content = Content::Edit { target, body: Some(body.clone()) };
    change(login, Numbered::Edit { conversation, target, body }, content, output).await
}

/// Withdraws a message, and prints the record of that.
pub(crate) async fn recall(login: &Login, recall: args::Message, output: &mut Output) -> Result<(), Failure> {
    let args::Message { conversation, seq: target } = recall;
    change(login, Numbered::Recall { conversation, target }, Content::Recall { target }, output).await
}

async fn change(login: &Login, command: Numbered, content: Content, output: &mut Output) -> Result<(), Failure> {
    let client = start(login).await?;
    client.connected().await?;
    let mut sending = client.enqueue(command).await?;
    let receipt = match answer_in_turn(&client, &mut sending, output).await {
        Ok(receipt) => receipt,
        Err(failure) => return Err(withdraw(client, &sending, failure, true).await),
    };
    let record = Record {
        position: receipt.position,
        conversation: receipt.conversation,
        seq: Some(receipt.seq),
        from: login.user().map(str::to_owned),
        device: Some(login.device().to_owned()),
        time_ms: receipt.time_ms,
        by_service: login.is_service(),
        content,
    };
    output.line(|| json::record(&record), || text::record(&record))?;
    end(client, output).await
}

/// Another send of this device that runs just now is waited for: it holds the queue.
async fn start(login: &Login) -> Result<Client, Failure> {
    let begun = Instant::now();
    let outgoing = loop {
        match login.state_dir()?.outgoing(login.server_name()) {
            Err(error) if error.code == Code::Busy && begun.elapsed() < PATIENCE => sleep(LOCK_RETRY).await,
            outgoing => break outgoing?,
        }
    };
    Ok(login.builder(SessionKind::Send).outgoing(outgoing).start()?)
}

fn message(send: &args::Send) -> Result<Option<Message>, Failure> {
    let Some(given) = &send.text else { return Ok(None) };
    let recipient = match (&send.to, &send.conversation) {
        (Some(user), _) => Recipient::User(user.clone()),
        (None, Some(conversation)) => Recipient::Conversation(conversation.clone()),
        (None, None) => return Err(Failure::usage("to whom? --to USER or --conversation ID")),
    };
    let quote = send.quote.map_or(Quote::None, Quote::Seq);
    let mentions = send.mention.clone();
    Ok(Some(Message { recipient, body: body(given)?, quote, mentions, sent_at_ms: None }))
}

/// The bytes of an argument, or of standard input for `-`.
fn body(given: &OsStr) -> Result<Bytes, Failure> {
    if given != "-" {
        return Ok(Bytes::copy_from_slice(given.as_bytes()));
    }
    // One byte more than any server takes is enough to be refused: standard input may have no end.
    let mut input = std::io::stdin().lock().take(BODY_BYTES_CONFIGURABLE_MAX as u64 + 1);
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| Failure::io(format!("standard input: {error}")))?;
    Ok(bytes.into())
}

/// There was no session: a message stays for later if the server was only out of reach.
async fn refuse(client: Client, error: Error, message: Message, no_queue: bool) -> Failure {
    let failure = Failure::from(error);
    if no_queue || !failure.is_unreachable() {
        client.close().await;
        return failure;
    }
    let queued = client.enqueue(Numbered::Send(message)).await;
    client.close().await;
    match queued {
        Ok(_) => failure.queued(),
        Err(error) => error.into(),
    }
}

/// There was no answer: the command stays for later unless that is not wanted and it certainly did not happen.
async fn withdraw(client: Client, sending: &Sending, failure: Failure, no_queue: bool) -> Failure {
    if failure.is_refusal() {
        client.close().await;
        return failure;
    }
    let withdrawn = no_queue && client.withdraw(sending.local_id()).await.unwrap_or(false);
    client.close().await;
    if withdrawn { failure } else { failure.queued() }
}

/// Waits for the receipt, or until the connection has been away for too long.
async fn answer(client: &Client, sending: &mut Sending) -> Result<Receipt, Failure> {
    tokio::select! {
        receipt = sending.receipt() => Ok(receipt?),
        failure = lost(client) => Err(failure),
        failure = held_up(client) => Err(failure),
    }
}

/// Waits until the server has said that it takes nothing, and for how long nobody can tell: a full disk at once, a full
/// queue when that has lasted for [`PATIENCE`].
async fn held_up(client: &Client) -> Failure {
    let error = client.held_up().await;
    if error.code != Code::ReadOnly {
        tokio::time::sleep(PATIENCE).await;
    }
    error.into()
}

/// Delivers what earlier runs left, and prints the receipts; what is refused is told, and is the result.
async fn flush(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut refused = None;
    for (_, mut sending) in client.unsent().await? {
        match answer(client, &mut sending).await {
            Ok(receipt) => output.line(|| json::receipt(&receipt), || text::receipt(&receipt))?,
            Err(failure) if failure.is_refusal() => refused = Some(failure),
            Err(failure) => return Err(failure.queued()),
        }
    }
    output.flush()?;
    refused.map_or(Ok(()), Err)
}

/// Waits for what earlier runs left, and then for the receipt. That an earlier message was refused is told, but is not
/// this command's failure.
async fn answer_in_turn(client: &Client, sending: &mut Sending, output: &Output) -> Result<Receipt, Failure> {
    for (_, mut earlier) in client.unsent().await? {
        match answer(client, &mut earlier).await {
            Ok(_) => {}
            Err(failure) if failure.is_refusal() => failure.report(output.is_json()),
            Err(failure) => return Err(failure),
        }
    }
    answer(client, sending).await
}
