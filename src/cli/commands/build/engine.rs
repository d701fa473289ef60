//! The engine that a build runs on: on this command's cache, client and display.

use std::sync::Arc;

use lazyblob::worker::Engine;
use lazyblob::worker::executor::{Executor as _, OciRuntime, Settings, state_dir};

use crate::cli::build_args::BuildArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;

/// Opens it. The run closes it.
pub(super) async fn open(args: &BuildArgs, context: &Context) -> Result<Engine, Failure> {
    let manager = context.manager().await?;
    let state = state_dir(manager.root().path());
    // Whoever was killed has left containers there, which would go on.
    let has_leftovers = std::fs::read_dir(&state).is_ok_and(|mut entries| entries.next().is_some());
    let executor = OciRuntime::new(Settings { runtime: args.runtime.clone(), state });
    if has_leftovers && let Err(error) = executor.ready().await {
        tracing::debug!(%error, "what others may have left is not looked at");
    }
    let engine = Engine::builder(manager.root().path())
        .manager(manager.clone())
        .registry(context.registry().clone())
        .executor(Arc::new(executor))
        .open()
        .await?;
    context.keep(&engine);
    Ok(engine)
}
