//! `lazyblob tags REPO`

use serde_json::json;

use crate::cli::args::TagsArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Lists the tags, one a line.
pub(super) async fn run(args: TagsArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.reading(&args.repository)?;
    let tags = context.retry().run(context.access(), || repository.tags()).await?;
    if context.json() {
        return output::json(&json!({"repository": args.repository.to_string(), "tags": tags}));
    }
    output::lines(&tags.join("\n"))
}
