//! The first frame: who is it, and what for?
//!
//! Until it has been answered a client can open one stream, send one small frame on it, and keep the server waiting for
//! one deadline.

use super::commands::CommandStream;
use super::outbox::Outbox;
use super::{Ending, Session, Shared, draining, now_ms, protocol};
use crate::auth::{Identity, Scope};
use crate::convert::{LastName, Speaker};
use crate::limits::{CONNECTION_WINDOW_BYTES, HELLO_BYTES_MAX, QUERIES_AT_ONCE_MAX};
use highwater_engine::command::OpenSession;
use highwater_engine::{Command, Outcome, SendSession};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::check_name;
use highwater_proto::limits::WIRE_FRAME_BYTES_MAX;
use highwater_proto::wire::{ClientFrame, FrameReader, Hello, ServerFrame, Welcome, client_frame, server_frame};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;

/// The command stream goes before deltas, and those before answers to queries.
const COMMANDS_PRIORITY: i32 = 2;

/// A session that does not begin, and the stream to say why on, if there is one.
pub(super) struct Refused {
    pub(super) send: Option<SendStream>,
    pub(super) error: Error,
}

/// Takes the first frame and opens the session that it asks for.
pub(super) async fn open(
    shared: &Arc<Shared>,
    connection: &Connection,
) -> Result<(Arc<Session>, CommandStream, SendStream), Refused> {
    let late = || protocol("the first frame did not come in time");
    let gone = || Error::new(Code::Unreachable, "the client went away");
    let deadline = shared.timeouts.hello;
    let started = tokio::time::Instant::now();
    let (send, mut receive) = timeout(deadline, connection.accept_bi())
        .await
        .map_err(|_| late())
        .and_then(|stream| stream.map_err(|_| gone()))
        .map_err(|error| Refused { send: None, error })?;
    // A stream that was closed meanwhile has no priority; writing to it will say so.
    let _ = send.set_priority(COMMANDS_PRIORITY);
    let mut frames = FrameReader::with_bytes_max(HELLO_BYTES_MAX);
    let left = deadline.saturating_sub(started.elapsed());
    let opened = async {
        let hello = timeout(left, read_hello(&mut receive, &mut frames)).await.map_err(|_| late())??;
        session(shared, connection, hello).await
    };
    match opened.await {
        Ok(session) => {
            frames.set_bytes_max(WIRE_FRAME_BYTES_MAX);
            connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
            connection.set_max_concurrent_bi_streams(VarInt::from_u32(1 + QUERIES_AT_ONCE_MAX));
            Ok((session, CommandStream { receive, frames, last_name: LastName::default() }, send))
        }
        Err(error) => Err(Refused { send: Some(send), error }),
    }
}

async fn read_hello(receive: &mut RecvStream, frames: &mut FrameReader) -> Result<Hello, Error> {
    loop {
        if let Some(frame) = frames.next::<ClientFrame>()? {
            return match frame.body {
                Some(client_frame::Body::Hello(hello)) => Ok(hello),
                _ => Err(protocol("the first frame is not a hello")),
            };
        }
        match receive.read_chunk(HELLO_BYTES_MAX, true).await {
            Ok(Some(chunk)) => frames.push(&chunk.bytes),
            Ok(None) => return Err(protocol("the command stream ended before the first frame")),
            Err(error) => return Err(protocol(format!("the command stream broke off: {error}"))),
        }
    }
}

async fn session(shared: &Arc<Shared>, connection: &Connection, hello: Hello) -> Result<Arc<Session>, Error> {
    if shared.is_draining() {
        return Err(draining());
    }
    let identity = shared.tokens.verify(&hello.token, now_ms())?;
    let device = device(&identity, &hello.device)?;
    let speaker = speaker(&identity, &hello.as_user)?;
    if let Speaker::User(user) = &speaker {
        // Whoever authenticated exists.
        if !shared.engine.user_exists(user) {
            shared.execute(Command::CreateUser { user: user.clone() }).await?;
        }
    }
    let ending = Arc::new(Ending::default());
    let numbering = match hello.send {
        true => Some(open_send_session(shared, &speaker, device.as_ref(), &ending).await?),
        false => None,
    };
    let limits = shared.engine.limits();
    let outbox = Arc::new(Outbox::new(
        u32::try_from(limits.commands_in_flight_max).unwrap_or(u32::MAX),
        shared.handover.clone(),
    ));
    let welcome = Welcome {
        incarnation: shared.engine.incarnation().0.to_vec().into(),
        user: speaker.user_name().to_owned(),
        device: device.as_deref().unwrap_or_default().to_owned(),
        last_client_seq: numbering.map_or(0, |session| session.last_client_seq),
        body_bytes_max: limits.body_bytes_max as u64,
        commands_in_flight_max: outbox.units_max(),
        token_valid_ms: identity.ends_ms.saturating_sub(now_ms()),
        visible: shared.engine.visible().0,
        time_ms: now_ms(),
    };
    outbox.push(&ServerFrame { body: Some(server_frame::Body::Welcome(welcome)) }, 0);
    Ok(Arc::new(Session {
        shared: shared.clone(),
        connection: connection.clone(),
        speaker,
        device,
        numbering,
        outbox,
        ending,
        token_ends_ms: watch::Sender::new(identity.ends_ms),
        identity,
    }))
}

/// The device of token and hello, which must agree.
fn device(identity: &Identity, named: &str) -> Result<Option<Arc<str>>, Error> {
    if named.is_empty() {
        return Ok(identity.device.clone());
    }
    check_name("device", named)?;
    match &identity.device {
        Some(device) if **device != *named => {
            Err(Error::new(Code::NotAllowed, format!("the token is for the device {device:?}, not for {named:?}")))
        }
        _ => Ok(Some(named.into())),
    }
}

fn speaker(identity: &Identity, as_user: &str) -> Result<Speaker, Error> {
    match identity.scope {
        Scope::User if as_user.is_empty() || *as_user == *identity.subject => {
            Ok(Speaker::User(identity.subject.clone()))
        }
        Scope::User => Err(Error::new(Code::NotAllowed, "only a service token may send in another user's name")),
        Scope::Service if as_user.is_empty() => Ok(Speaker::Service { as_user: None }),
        Scope::Service => {
            check_name("as_user", as_user)?;
            Ok(Speaker::Service { as_user: Some(as_user.into()) })
        }
    }
}

async fn open_send_session(
    shared: &Shared,
    speaker: &Speaker,
    device: Option<&Arc<str>>,
    ending: &Arc<Ending>,
) -> Result<SendSession, Error> {
    let device = device.ok_or_else(|| Error::new(Code::InvalidArgument, "a session that sends names its device"))?;
    let (user, by_service) = match speaker {
        Speaker::User(user) => (user, false),
        Speaker::Service { as_user: Some(user) } => (user, true),
        Speaker::Service { as_user: None } => {
            return Err(Error::new(Code::InvalidArgument, "a service session that sends names the user it sends as"));
        }
    };
    let ending = ending.clone();
    let opened = shared
        .execute(Command::OpenSession(OpenSession {
            user: user.clone(),
            device: device.clone(),
            by_service,
            on_replaced: Box::new(move || {
                ending.end(Error::new(Code::Replaced, "a newer session of the same device took over"));
            }),
        }))
        .await?;
    match opened {
        Outcome::Session(session) => Ok(session),
        _ => Err(Error::new(Code::OutcomeUnknown, "the engine opened no session")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(device: Option<&str>, scope: Scope) -> Identity {
        Identity { subject: "ann".into(), device: device.map(Arc::from), scope, ends_ms: 1 }
    }

    #[test]
    fn devices_of_token_and_hello_agree() {
        let cases = [
            (None, "", Ok(None)),
            (None, "phone", Ok(Some("phone"))),
            (Some("phone"), "", Ok(Some("phone"))),
            (Some("phone"), "phone", Ok(Some("phone"))),
            (Some("phone"), "tablet", Err(Code::NotAllowed)),
            (None, "a\tb", Err(Code::InvalidArgument)),
        ];
        for (token, named, expected) in cases {
            let found = device(&identity(token, Scope::User), named);
            let found = found.as_ref().map(|device| device.as_deref()).map_err(|error| error.code);
            assert_eq!(found, expected, "{token:?} {named:?}");
        }
        let long = "x".repeat(65);
        assert_eq!(device(&identity(None, Scope::User), &long).map_err(|error| error.code), Err(Code::LimitExceeded));
    }

    #[test]
    fn only_a_service_speaks_for_others() {
        let user = Speaker::User("ann".into());
        assert_eq!(speaker(&identity(None, Scope::User), ""), Ok(user.clone()));
        assert_eq!(speaker(&identity(None, Scope::User), "ann"), Ok(user));
        assert_eq!(speaker(&identity(None, Scope::User), "bob").map_err(|error| error.code), Err(Code::NotAllowed));
        assert_eq!(speaker(&identity(None, Scope::Service), ""), Ok(Speaker::Service { as_user: None }));
        assert_eq!(
            speaker(&identity(None, Scope::Service), "bob"),
            Ok(Speaker::Service { as_user: Some("bob".into()) })
        );
    }
}
