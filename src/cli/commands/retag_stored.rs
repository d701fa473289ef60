//! `lazyblob retag store:REF DST…`: other names for what is in the cache; no request is sent.

use lazyblob::remote::{Location, Reference};

use super::retag::{Outcome, finish};
use crate::cli::args::RetagArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;

/// Gives what is called `source` every name; one that fails does not keep the others from theirs.
pub(super) async fn run(source: &Reference, args: &RetagArgs, context: &Context) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for text in &args.targets {
        let target = parse(source, text)?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let manager = context.manager().await?;
    let digest = manager.named(source).await?;
    let mut outcomes: Vec<Outcome<'_>> = Vec::with_capacity(targets.len());
    for target in &targets {
        let outcome = manager.give_name(source, target).await.map(drop).map_err(Failure::from);
        if let Err(failure) = &outcome
            && targets.len() > 1
        {
            context.watch().say(&format!("lazyblob: store:{target} failed: {failure}"));
        }
        outcomes.push((target, outcome));
    }
    finish(args, context, &digest, outcomes)
}

/// `:TAG` is in the source's repository; anything else is `store:REF`.
fn parse(source: &Reference, text: &str) -> Result<Reference, Failure> {
    let target = match text.strip_prefix(':') {
        Some(tag) => source.with_tag(tag),
        None => match text.parse::<Location>() {
            Ok(Location::Store(reference)) => Ok(reference),
            Ok(_) => {
                let usage =
                    format!("`{text}` is not in the cache: write store:{text}, or use `lazyblob push`");
                return Err(Failure::Usage(usage));
            }
            Err(error) => Err(error),
        },
    };
    let target = target.map_err(|error| Failure::Usage(error.to_string()))?;
    match (target.tag(), target.digest()) {
        (Some(_), None) => Ok(target),
        _ => Err(Failure::Usage(format!("`{text}` must name a tag and no digest"))),
    }
}
