//! `lazyblob retag SRC DST…`: GET the manifest once, PUT it once a name.

use std::sync::Arc;

use lazyblob::remote::copy::{Copy, Options};
use lazyblob::remote::endpoint::{Name, Source};
use lazyblob::remote::registry::{RegistrySource, RegistryTarget};
use lazyblob::remote::{Manifest, Reference, Scopes, Target};
use serde_json::json;

use crate::cli::args::RetagArgs;
use crate::cli::context::{Context, name_of};
use crate::cli::exit::Failure;
use crate::cli::output;

/// Retags to every name; one that fails does not keep the others from theirs.
pub(super) async fn run(args: RetagArgs, context: &Context) -> Result<(), Failure> {
    let targets =
        args.targets.iter().map(|target| parse(&args.source, target)).collect::<Result<Vec<_>, _>>()?;
    // One token for all of it.
    let scopes = targets.iter().fold(Scopes::pull(args.source.repository()), |scopes, target| {
        scopes.union(&Scopes::push(target.repository()))
    });
    let repository = context.repository(args.source.repository(), scopes.clone())?;
    let source: Arc<dyn Source> = Arc::new(RegistrySource::new(repository));
    context.between(true, true);
    let manifest = source.manifest(&name_of(&args.source)).await?;
    let mut done = Vec::new();
    let mut first_failure = None;
    for target in &targets {
        match give_name(&args, context, &source, &manifest, target, &scopes).await {
            Ok(()) => done.push(target),
            Err(failure) => {
                if targets.len() > 1 {
                    context.watch().say(&format!("lazyblob: {failure}"));
                }
                first_failure.get_or_insert(failure);
            }
        }
    }
    context.watch().end();
    match first_failure {
        Some(_) if !done.is_empty() => return Err(Failure::Partly { done: done.len(), all: targets.len() }),
        Some(failure) => return Err(failure),
        None => {}
    }
    if context.json() {
        let names: Vec<String> = done.iter().map(ToString::to_string).collect();
        let digest = manifest.digest();
        return output::json(&json!({"digest": digest, "source": args.source.to_string(), "targets": names}));
    }
    output::lines(manifest.digest().as_ref())
}

/// `:TAG` is in the source's repository; anything else is a reference in the source's registry.
fn parse(source: &Reference, text: &str) -> Result<Reference, Failure> {
    let target = match text.strip_prefix(':') {
        Some(tag) => source.with_tag(tag),
        None => text.parse(),
    };
    let target = target.map_err(|error| Failure::Usage(error.to_string()))?;
    if target.repository().host() != source.repository().host() {
        let hosts = format!("{} and {}", source.repository().host(), target.repository().host());
        let usage = format!("retag works within one registry; {hosts} are two: use `lazyblob copy`");
        return Err(Failure::Usage(usage));
    }
    match (target.tag(), target.digest()) {
        (Some(_), None) => Ok(target),
        _ => Err(Failure::Usage(format!("`{text}` must name a tag and no digest"))),
    }
}

async fn give_name(
    args: &RetagArgs,
    context: &Context,
    source: &Arc<dyn Source>,
    manifest: &Manifest,
    target: &Reference,
    scopes: &Scopes,
) -> Result<(), Failure> {
    let repository = context.repository(target.repository(), scopes.clone())?;
    let place: Arc<dyn Target> = Arc::new(RegistryTarget::new(repository));
    let name = Name::Tag(target.identifier());
    if target.repository() == args.source.repository() {
        return Ok(place.put_manifest(manifest, &name).await?);
    }
    let options =
        Options { concurrency: args.concurrency, retry: context.settings().retry, ..Options::default() };
    let access = context.access().clone();
    let copy =
        Copy::new(Arc::clone(source), name_of(&args.source), place, vec![name], access, context.tasks());
    copy.with_options(options).of(manifest.clone()).run().await?;
    Ok(())
}
