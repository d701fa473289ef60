//! One command a file.

pub(crate) mod build;
mod completion;
mod copy;
mod copy_stored;
mod du;
mod extract;
mod inspect;
mod inspect_stored;
mod login;
mod ls;
mod mount;
mod prune;
mod pull;
mod push;
mod retag;
mod retag_stored;
mod rm;
mod serve;
mod serve_stored;

mod tags;
mod unmount;
mod verify;
mod version;

use super::args::Command;
use super::context::Context;
use super::exit::Failure;

/// Whether a command answers SIGINT and SIGTERM itself, because it has something to bring to an end first.
pub(super) fn handles_signals(command: &Command) -> bool {
    matches!(command, Command::Serve(_))
}

/// What other processes are told that this one is, where they wait for it: never its arguments.
pub(super) fn holder(command: &Command) -> &'static str {
    match command {
        Command::Build(_) => "lazyblob build",
        Command::Pull(_) => "lazyblob pull",
        Command::Push(_) => "lazyblob push",
        Command::Ls => "lazyblob ls",
        Command::Rm(_) => "lazyblob rm",
        Command::Du(_) => "lazyblob du",
        Command::Retag(_) => "lazyblob retag",
        Command::Copy(_) => "lazyblob copy",
        Command::Inspect(_) => "lazyblob inspect",
        Command::Serve(_) => "lazyblob serve",
        Command::Extract(_) => "lazyblob extract",
        Command::Mount(_) => "lazyblob mount",
        Command::Unmount(_) => "lazyblob unmount",
        Command::Prune(_) => "lazyblob prune",
        Command::Verify(_) => "lazyblob verify",
        // They hold nothing that others wait for.
        Command::Tags(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Version
        | Command::Completion { .. } => "lazyblob",
    }
}

/// Runs one command.
pub(super) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Build(args) => Box::pin(build::run(*args, context)).await,
        Command::Pull(args) => pull::run(args, context).await,
        Command::Push(args) => push::run(args, context).await,
        Command::Ls => ls::run(context).await,
        Command::Rm(args) => rm::run(args, context).await,
        Command::Du(args) => du::run(args, context).await,
        Command::Retag(args) => retag::run(args, context).await,
        Command::Copy(args) => copy::run(args, context).await,
        Command::Tags(args) => tags::run(args, context).await,
        Command::Inspect(args) => inspect::run(args, context).await,
        Command::Serve(args) => serve::run(args, context).await,
        Command::Extract(args) => Box::pin(extract::run(args, context)).await,
        Command::Mount(args) => Box::pin(mount::run(args, context)).await,
        Command::Unmount(args) => unmount::run(args, context).await,
        Command::Prune(args) => prune::run(args, context).await,
        Command::Verify(args) => verify::run(args, context).await,
        Command::Login(args) => login::login(args, context).await,
        Command::Logout(args) => login::logout(args, context).await,
        Command::Version => version::run(context),
        Command::Completion { shell } => completion::run(shell),
    }
}
