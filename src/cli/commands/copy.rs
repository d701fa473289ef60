//! `lazyblob copy SRC DST`

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;
use lazyblob::remote::copy::{Action, Copy, Options, Plan, Report};
use lazyblob::remote::provider::Origin;
use lazyblob::remote::{Descriptor, Location, Reference};
use serde_json::{Value, json};

use super::copy_stored::FromStore;
use crate::cli::args::CopyArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Copies, or says what a copy would do.
pub(super) async fn run(args: CopyArgs, context: &Context) -> Result<(), Failure> {
    let registry = |location: &Location| matches!(location, Location::Registry(_));
    context.between(registry(&args.source), registry(&args.target));
    let (source, name) = context.source(&args.source, Some(&args.target)).await?;
    let from = source.origin();
    let (target, target_name) = context.target(&args.target, &from).await?;
    let how = &args.how;
    let options =
        Options { platforms: how.platform.clone(), referrers: how.referrers, cache_form: how.cache_form };
    let copy = Copy::new(
        source,
        name,
        Arc::clone(&target),
        vec![target_name.clone()],
        context.access().clone(),
        context.transfers(how.concurrency),
    );
    let copy = copy.with_options(options.clone());
    if how.dry_run {
        return show(&args, context, &copy.plan().await?);
    }
    let report = match &args.source {
        Location::Store(reference) => {
            let run = FromStore { context, reference, to: &args.target, target, name: target_name, options };
            run.run(copy, &from, how.concurrency).await?
        }
        _ => copy.run().await?,
    };
    if let Location::Store(reference) = &args.target {
        into_store(context, reference, &report, &from).await?;
    }
    context.watch().end();
    let document = json!({
        "digest": report.root,
        "unchanged": report.unchanged,
        "manifests": report.manifests,
        "referrers": report.referrers,
        "blobs": blobs(&report.blobs),
    });
    // The copy is done: its digest is said even where the file cannot be written.
    let kept = how.metadata_file.as_deref().map_or(Ok(()), |path| write_metadata(path, &document));
    if context.json() {
        output::json(&document)?;
    } else {
        output::lines(report.root.as_ref())?;
    }
    kept
}

/// What came into the cache is known there as if it had been pulled: its layers have records, and where it came from is
/// remembered.
async fn into_store(
    context: &Context,
    reference: &Reference,
    report: &Report,
    from: &Origin,
) -> Result<(), Failure> {
    let manager = context.manager().await?;
    manager.pushed_to(&report.root, from).await?;
    Ok(manager.make_records(reference, &report.root).await?)
}

fn show(args: &CopyArgs, context: &Context, plan: &Plan) -> Result<(), Failure> {
    let document = json!({
        "digest": plan.root.digest(),
        "unchanged": plan.unchanged,
        "manifests": plan.manifests.iter().map(describe).collect::<Vec<_>>(),
        "referrers": plan.referrers,
        "blobs": blobs(&plan.blobs),
        "bytes": plan.bytes(),
        "bytes_if_mounts_refused": plan.bytes_if_refused(),
    });
    if let Some(path) = &args.how.metadata_file {
        write_metadata(path, &document)?;
    }
    if context.json() {
        return output::json(&document);
    }
    let mut text = String::new();
    for (blob, action) in &plan.blobs {
        let cost = match action {
            Action::Mount => format!("0 B, {} if refused", HumanBytes(blob.size())),
            Action::Transfer => HumanBytes(blob.size()).to_string(),
            _ => "0 B".to_owned(),
        };
        text.push_str(&format!("{:8} {} {cost}\n", action.name(), blob.digest()));
    }
    for manifest in &plan.manifests {
        text.push_str(&format!("{:8} {} {}\n", "put", manifest.digest(), HumanBytes(manifest.size())));
    }
    let total = match (plan.unchanged, plan.bytes(), plan.bytes_if_refused()) {
        (true, ..) => format!("nothing to do: {} is there", plan.root.digest()),
        (_, bytes, refused) if bytes == refused => format!("{} would move", HumanBytes(bytes)),
        (_, bytes, refused) => {
            format!("{} would move, {} if every mount is refused", HumanBytes(bytes), HumanBytes(refused))
        }
    };
    text.push_str(&total);
    match plan.referrers {
        0 => {}
        1 => text.push_str(", with 1 referrer"),
        many => text.push_str(&format!(", with {many} referrers")),
    }
    output::lines(&text)
}

fn blobs(blobs: &[(Descriptor, Action)]) -> Vec<Value> {
    let describe_both = |(blob, action): &(Descriptor, Action)| {
        let mut document = describe(blob);
        document["action"] = json!(action.name());
        document
    };
    blobs.iter().map(describe_both).collect()
}

fn describe(descriptor: &Descriptor) -> Value {
    json!({"mediaType": descriptor.media_type(), "digest": descriptor.digest(), "size": descriptor.size()})
}

/// Writes the document beside its final name first, so that a reader finds the old one or the whole new one.
fn write_metadata(path: &Path, document: &Value) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Local(format!("write {}: {error}", path.display()));
    let text = format!("{document:#}\n");
    // A pipe or a device takes the text itself.
    if path.metadata().is_ok_and(|kind| !kind.is_file()) {
        return std::fs::write(path, text).map_err(failed);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.partial", std::process::id()));
    let beside = Path::new(&beside);
    let written = File::create(beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(beside, path)
    });
    written.inspect_err(|_| drop(std::fs::remove_file(beside))).map_err(failed)
}
