//! The engine that a build runs on: on this command's cache, client and display.

use std::sync::Arc;

use lazyblob::worker::Engine;
use lazyblob::worker::executor::{OciRuntime, Settings, state_dir};

use crate::cli::build_args::BuildArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;

/// Opens it. The run closes it.
pub(super) async fn open(args: &BuildArgs, context: &Context) -> Result<Engine, Failure> {
    let manager = context.manager().await?;
    let state = state_dir(manager.root().path());
    let executor = OciRuntime::new(Settings { runtime: args.runtime.clone(), state });
    let engine = Engine::builder(manager.root().path())
        .manager(manager.clone())
        .registry(context.registry().clone())
        .executor(Arc::new(executor))
        .open()
        .await?;
    context.keep(&engine);
    Ok(engine)
}
