//! `lazyblob retag SRC DST…`: GET the manifest once, bring its blobs once a repository, PUT it once a name.

use std::sync::Arc;

use lazyblob::remote::copy::Copy;
use lazyblob::remote::endpoint::{Name, Source};
use lazyblob::remote::registry::{RegistrySource, RegistryTarget};
use lazyblob::remote::{Digest, Location, Manifest, Reference, Scopes, Target};
use serde_json::json;

use super::retag_stored;
use crate::cli::args::RetagArgs;
use crate::cli::context::{Context, name_of};
use crate::cli::exit::Failure;
use crate::cli::output;

/// A name and what became of it.
pub(super) type Outcome<'a> = (&'a Reference, Result<(), Failure>);

/// Retags to every name; one that fails does not keep the others from theirs.
pub(super) async fn run(args: RetagArgs, context: &Context) -> Result<(), Failure> {
    let source = match &args.source {
        Location::Registry(reference) => reference,
        Location::Store(reference) => return retag_stored::run(reference, &args, context).await,
        Location::Local(local) => {
            let usage = format!("retag works within a registry or the cache, and not in `{local}`");
            return Err(Failure::Usage(format!("{usage}: use `lazyblob copy`")));
        }
    };
    let mut targets = Vec::new();
    for text in &args.targets {
        let target = parse(source, text)?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let run = Retag::start(source, &args, context, &targets).await?;
    let mut outcomes: Vec<Outcome<'_>> = Vec::with_capacity(targets.len());
    for target in &targets {
        let outcome = run.give_name(target, complete(source, target, &outcomes)).await;
        if let Err(failure) = &outcome
            && targets.len() > 1
        {
            context.watch().say(&format!("lazyblob: {target} failed: {failure}"));
        }
        outcomes.push((target, outcome));
    }
    context.watch().end();
    finish(&args, context, run.manifest.digest(), outcomes)
}

/// Whether all that the manifest names is in `target`'s repository by now.
fn complete(source: &Reference, target: &Reference, outcomes: &[Outcome<'_>]) -> bool {
    let has_it =
        |(other, outcome): &Outcome<'_>| outcome.is_ok() && other.repository() == target.repository();
    source.repository() == target.repository() || outcomes.iter().any(has_it)
}

/// Says which names there are now, and which not.
pub(super) fn finish(
    args: &RetagArgs,
    context: &Context,
    digest: &Digest,
    outcomes: Vec<Outcome<'_>>,
) -> Result<(), Failure> {
    let all = outcomes.len();
    let (mut done, mut failed, mut first) = (Vec::new(), Vec::new(), None);
    for (target, outcome) in outcomes {
        match outcome {
            Ok(()) => done.push(target.to_string()),
            Err(failure) => {
                failed.push(json!({"target": target.to_string(), "error": failure.to_string()}));
                first.get_or_insert(failure);
            }
        }
    }
    let mut document = json!({"digest": digest, "source": args.source.to_string(), "targets": done});
    match first {
        None if context.json() => output::json(&document),
        None => output::lines(digest.as_ref()),
        Some(failure) if done.is_empty() => Err(failure),
        Some(_) => {
            if context.json() {
                document["failed"] = failed.into();
                output::json(&document)?;
            }
            for target in &done {
                context.watch().tell(&format!("lazyblob: {target} done"));
            }
            Err(Failure::Partly { done: done.len(), all })
        }
    }
}

/// `:TAG` is in the source's repository; anything else is a reference in the source's registry.
fn parse(source: &Reference, text: &str) -> Result<Reference, Failure> {
    let target = match text.strip_prefix(':') {
        Some(tag) => source.with_tag(tag),
        None if text.starts_with("store:") => {
            let usage = format!(
                "`{text}` is in the cache and not in a registry: use `lazyblob pull` or `lazyblob copy`"
            );
            return Err(Failure::Usage(usage));
        }
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

/// A manifest on its way to its names.
struct Retag<'a> {
    reference: &'a Reference,
    args: &'a RetagArgs,
    context: &'a Context,
    /// One token for all of it.
    scopes: Scopes,
    source: Arc<dyn Source>,
    manifest: Manifest,
}

impl<'a> Retag<'a> {
    async fn start(
        reference: &'a Reference,
        args: &'a RetagArgs,
        context: &'a Context,
        targets: &[Reference],
    ) -> Result<Self, Failure> {
        let scopes = targets.iter().fold(Scopes::pull(reference.repository()), |scopes, target| {
            scopes.union(&Scopes::push(target.repository()))
        });
        let repository = context.repository(reference.repository(), scopes.clone())?;
        let source: Arc<dyn Source> = Arc::new(RegistrySource::new(repository));
        context.between(true, true);
        let manifest = source.manifest(&name_of(reference)).await?;
        Ok(Self { reference, args, context, scopes, source, manifest })
    }

    /// One PUT where the repository is `complete`; else all that the manifest names goes there first.
    async fn give_name(&self, target: &Reference, complete: bool) -> Result<(), Failure> {
        let context = self.context;
        let repository = context.repository(target.repository(), self.scopes.clone())?;
        let place: Arc<dyn Target> = Arc::new(RegistryTarget::new(repository));
        let name = Name::Tag(target.identifier());
        if complete {
            return Ok(place.put_manifest(&self.manifest, &name).await?);
        }
        let (source, names) = (Arc::clone(&self.source), vec![name]);
        let access = context.access().clone();
        let copy = Copy::new(
            source,
            name_of(self.reference),
            place,
            names,
            access,
            context.transfers(self.args.concurrency),
        );
        copy.of(self.manifest.clone()).run().await?;
        Ok(())
    }
}
