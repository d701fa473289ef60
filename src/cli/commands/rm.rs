//! `lazyblob rm REF…`: takes names out of the cache.

use serde_json::json;

use crate::cli::args::RmArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Takes each name away; one that is not there does not keep the others.
pub(super) async fn run(args: RmArgs, context: &Context) -> Result<(), Failure> {
    let manager = context.manager().await?;
    let all = args.references.len();
    let (mut removed, mut failed, mut first) = (Vec::new(), Vec::new(), None);
    for reference in &args.references {
        match manager.remove_name(reference).await {
            Ok(digest) => {
                context.watch().tell(&format!("{reference} removed"));
                removed.push(json!({"reference": reference.to_string(), "digest": digest}));
            }
            Err(error) => {
                if all > 1 {
                    context.watch().say(&format!("lazyblob: {error}"));
                }
                failed.push(json!({"reference": reference.to_string(), "error": error.to_string()}));
                first.get_or_insert(error);
            }
        }
    }
    if let Some(error) = first.take_if(|_| removed.is_empty()) {
        return Err(error.into());
    }
    context.watch().tell("what no name needs any more takes space until `lazyblob prune`");
    let done = removed.len();
    if context.json() {
        let mut document = json!({"removed": removed});
        if !failed.is_empty() {
            document["failed"] = failed.into();
        }
        output::json(&document)?;
    }
    if done < all { Err(Failure::Partly { done, all }) } else { Ok(()) }
}
