//! Commands that change conversations and are not numbered: what is so already changes nothing.

use crate::args;
use crate::connect::Login;
use crate::failure::Failure;
use crate::output::Output;
use crate::{json, text};
use highwater_client::{Change, Client, NewConversation, SettingsChange};
use highwater_proto::limits::MEMBERS_PER_CHANGE_MAX;
use std::path::Path;

/// Creates a conversation. Members beyond what one change may name are added in further ones.
pub(crate) async fn create(login: &Login, create: args::Create, output: &mut Output) -> Result<(), Failure> {
    let mut members = named(create.member, create.members_file.as_deref())?;
    let rest = members.split_off(members.len().min(MEMBERS_PER_CHANGE_MAX));
    let client = login.connect().await?;
    let new = NewConversation {
        id: create.id.clone(),
        owner: create.owner,
        members,
        open: create.open,
        history: create.history,
        ..NewConversation::new(create.kind.into())
    };
    print(&client.create(new).await?, output)?;
    let id = create.id.unwrap_or_default();
    for part in rest.chunks(MEMBERS_PER_CHANGE_MAX) {
        print(&client.add(&id, part.to_vec()).await?, output)?;
    }
    end(client, output).await
}

/// Makes others members, as many changes as it takes.
pub(crate) async fn add(login: &Login, members: args::Members, output: &mut Output) -> Result<(), Failure> {
    let users = named(members.member, members.members_file.as_deref())?;
    let client = login.connect().await?;
    for part in users.chunks(MEMBERS_PER_CHANGE_MAX) {
        print(&client.add(&members.conversation, part.to_vec()).await?, output)?;
    }
    end(client, output).await
}

/// Makes others leave, as many changes as it takes.
pub(crate) async fn remove(login: &Login, members: args::Members, output: &mut Output) -> Result<(), Failure> {
    let users = named(members.member, members.members_file.as_deref())?;
    let client = login.connect().await?;
    for part in users.chunks(MEMBERS_PER_CHANGE_MAX) {
        print(&client.remove(&members.conversation, part.to_vec()).await?, output)?;
    }
    end(client, output).await
}

/// Joins an open channel.
pub(crate) async fn join(login: &Login, target: &args::Target, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    print(&client.join(&target.conversation).await?, output)?;
    end(client, output).await
}

/// Leaves a conversation.
pub(crate) async fn leave(login: &Login, target: &args::Target, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    print(&client.leave(&target.conversation).await?, output)?;
    end(client, output).await
}

/// Changes a member's role.
pub(crate) async fn role(login: &Login, role: &args::SetRole, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    print(&client.role(&role.conversation, &role.user, role.role.into()).await?, output)?;
    end(client, output).await
}

/// Changes settings.
pub(crate) async fn settings(login: &Login, settings: &args::Settings, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    let change = SettingsChange {
        open: settings.open.map(bool::from),
        history: settings.history.map(bool::from),
        fanout: settings.fanout.map(Into::into),
    };
    print(&client.settings(&settings.conversation, change).await?, output)?;
    end(client, output).await
}

/// Mutes or unmutes.
pub(crate) async fn mute(login: &Login, mute: &args::Mute, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    let change = match bool::from(mute.muted) {
        true => client.mute(&mute.conversation).await?,
        false => client.unmute(&mute.conversation).await?,
    };
    print(&change, output)?;
    end(client, output).await
}

/// Moves the read mark.
pub(crate) async fn read(login: &Login, mark: &args::Message, output: &mut Output) -> Result<(), Failure> {
    let client = login.connect().await?;
    print(&client.mark_read(&mark.conversation, mark.seq).await?, output)?;
    end(client, output).await
}

/// Prints what a command has changed.
pub(crate) fn print(change: &Change, output: &mut Output) -> Result<(), Failure> {
    output.line(|| json::change(change), || text::change(change))
}

/// Hands the data over before the connection is taken down.
pub(crate) async fn end(client: Client, output: &mut Output) -> Result<(), Failure> {
    output.flush()?;
    client.close().await;
    Ok(())
}

/// The users named by options and by a file's lines, each once.
fn named(mut users: Vec<String>, file: Option<&Path>) -> Result<Vec<String>, Failure> {
    if let Some(path) = file {
        let failed = |error: std::io::Error| Failure::io(format!("{}: {error}", path.display()));
        let lines = std::fs::read_to_string(path).map_err(failed)?;
        users.extend(lines.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let mut known = std::collections::HashSet::new();
    users.retain(|user| known.insert(user.clone()));
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_names_a_user_on_each_line() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(b"ann\n bob \r\n\nann\nlast").expect("writes");
        let users = named(vec!["last".to_owned()], Some(file.path())).expect("is read");
        assert_eq!(users, ["last", "ann", " bob "]);
        assert_eq!(named(Vec::new(), Some(Path::new("/nowhere/at all"))).expect_err("no file").exit(), 1);
    }
}
