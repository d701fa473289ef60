//! `lazyblob unmount DIR`

use serde_json::json;

use crate::cli::args::UnmountArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Unmounts.
pub(super) async fn run(args: UnmountArgs, context: &Context) -> Result<(), Failure> {
    let record = context.manager().await?.unmount(&args.dir, args.lazy).await?;
    if context.json() {
        return output::json(&json!({"directory": record.dir}));
    }
    Ok(())
}
