//! What each command does, once the command line has been understood.

mod change;
mod read;
mod send;
mod timeline;

use crate::args::{Cli, Command};
use crate::connect::{Acting, Login};
use crate::failure::Failure;
use crate::output::Output;
use crate::{bench, replay, sample};

/// Runs the command to its end.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let mut output = Output::new(cli.global.json);
    let login = |acting| Login::new(&cli.global, acting);
    match cli.command {
        Command::Send(send) => send::send(&login(Acting::User)?, send, &mut output).await?,
        Command::Edit(edit) => send::edit(&login(Acting::User)?, edit, &mut output).await?,
        Command::Recall(recall) => send::recall(&login(Acting::User)?, recall, &mut output).await?,
        Command::Create(create) => {
            let acting = if create.owner.is_some() { Acting::Service } else { Acting::Anyone };
            change::create(&login(acting)?, create, &mut output).await?;
        }
        Command::Add(members) => change::add(&login(Acting::Anyone)?, members, &mut output).await?,
        Command::Remove(members) => change::remove(&login(Acting::Anyone)?, members, &mut output).await?,
        Command::Join(target) => change::join(&login(Acting::User)?, &target, &mut output).await?,
        Command::Leave(target) => change::leave(&login(Acting::User)?, &target, &mut output).await?,
        Command::Role(role) => change::role(&login(Acting::Anyone)?, &role, &mut output).await?,
        Command::Settings(settings) => {
            let acting = if settings.fanout.is_some() { Acting::Service } else { Acting::Anyone };
            change::settings(&login(acting)?, &settings, &mut output).await?;
        }
        Command::Mute(mute) => change::mute(&login(Acting::User)?, &mute, &mut output).await?,
        Command::Read(mark) => change::read(&login(Acting::User)?, &mark, &mut output).await?,
        Command::Sync(sync) => timeline::sync(&login(Acting::User)?, &sync, &mut output).await?,
        Command::Tail(tail) => timeline::tail(&login(Acting::User)?, &tail, &mut output).await?,
        Command::Members(target) => read::members(&login(Acting::Anyone)?, &target, &mut output).await?,
        Command::History(history) => read::history(&login(Acting::Anyone)?, &history, &mut output).await?,
        Command::Conversations(list) => read::conversations(&login(Acting::User)?, &list, &mut output).await?,
        Command::Devices(devices) => read::devices(&login(Acting::User)?, &devices, &mut output).await?,
        Command::Replay(options) => replay::run(&cli.global, &options, &mut output).await?,
        Command::Sample(options) => sample::run(&options)?,
        Command::Bench(options) => bench::run(&cli.global, &options, &mut output).await?,
    }
    output.flush()
}
