//! `lazyblob inspect LOCATION`: one GET; no layer is pulled, and a config only where it is small and says something.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use lazyblob::cache;
use lazyblob::remote::error::printable;
use lazyblob::remote::{Descriptor, Location, Manifest};
use serde_json::{Value, json};

use super::inspect_stored;
use crate::cli::args::InspectArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::{output, unfinished};

/// Shows a manifest.
pub(super) async fn run(args: InspectArgs, context: &Context) -> Result<(), Failure> {
    if let Location::Store(reference) = &args.location
        && context.has_no_cache()?
    {
        let error = cache::Error::not_found("open image", reference, "there is no cache yet");
        return Err(error.into());
    }
    let (source, name) = context.source(&args.location, None).await?;
    let manifest = source.manifest(&name).await?;
    if args.raw {
        return output::write(manifest.bytes());
    }
    let about = match &args.location {
        Location::Store(reference) => Some(context.manager().await?.about(reference).await?),
        _ => None,
    };
    let partials: Vec<_> =
        context.unfinished().await.into_iter().flat_map(|(_, partials)| partials).collect();
    let referrers = if args.referrers { source.referrers(manifest.digest()).await? } else { Vec::new() };
    if context.json() {
        let parsed: Value = serde_json::from_slice(manifest.bytes()).unwrap_or_default();
        let mut document = json!({
            "location": args.location.to_string(),
            "digest": manifest.digest(),
            "mediaType": manifest.media_type(),
            "size": manifest.bytes().len(),
            "kind": kind(&manifest),
            "manifest": parsed,
        });
        if args.referrers {
            document["referrers"] = json!(referrers);
        }
        if !partials.is_empty() {
            document["unfinished"] = partials.iter().map(unfinished::document).collect();
        }
        if let Some(about) = &about {
            document["store"] = inspect_stored::document(about);
        }
        return output::json(&document);
    }
    let referrers = args.referrers.then_some(&referrers[..]);
    let mut text = text(&args.location.to_string(), &manifest, referrers);
    if let Some(about) = &about {
        inspect_stored::add(&mut text, about);
    }
    for partial in &partials {
        let _ = writeln!(text, "  unfinished {} {}", partial.digest, unfinished::line(partial));
    }
    output::lines(&text)
}

/// What a manifest is one of.
pub(super) fn kind(manifest: &Manifest) -> &'static str {
    match (manifest.is_build_cache(), manifest.is_index()) {
        (true, true) => "build cache (index form)",
        (true, false) => "build cache (manifest form)",
        (false, true) => "index",
        (false, false) if manifest.subject().is_some() => "artifact",
        (false, false) => "image",
    }
}

fn text(location: &str, manifest: &Manifest, referrers: Option<&[Descriptor]>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{location}");
    let _ = writeln!(text, "  digest  {}", manifest.digest());
    let _ = writeln!(text, "  type    {} ({})", kind(manifest), printable(manifest.media_type()));
    if let Some(subject) = manifest.subject() {
        let _ = writeln!(text, "  subject {}", subject.digest());
    }
    let blobs = manifest.child_blobs();
    if !blobs.is_empty() {
        let bytes = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size()));
        let _ = writeln!(text, "  blobs   {} in {} distinct", HumanBytes(bytes), blobs.len());
    }
    if let Some(config) = manifest.config() {
        line(&mut text, "config", config);
    }
    for layer in manifest.layers() {
        line(&mut text, "layer", layer);
    }
    for entry in manifest.entries() {
        line(&mut text, "entry", entry);
    }
    for referrer in referrers.unwrap_or_default() {
        line(&mut text, "referrer", referrer);
    }
    text
}

fn line(text: &mut String, what: &str, descriptor: &Descriptor) {
    let platform = descriptor.platform().as_ref().map(|platform| {
        let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        printable(&format!(" {}/{}{variant}", platform.os(), platform.architecture())).into_owned()
    });
    let size = HumanBytes(descriptor.size()).to_string();
    let (digest, media_type) = (descriptor.digest(), printable(descriptor.media_type().as_ref()));
    let _ = writeln!(text, "  {what:7} {digest} {size:>10}{} {media_type}", platform.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_says_steers_no_terminal() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let document = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "x/\u{1b}]0;title\u{7}",
                "digest": digest,
                "size": 1,
                "platform": {"os": "linux\u{202e}", "architecture": "a\nb", "variant": "\u{2066}v"},
            }],
        });
        let manifest = Manifest::parse(document.to_string().into(), None, None, "the test").unwrap();
        let text = text("h.test/a:1", &manifest, None);
        assert_eq!(text.lines().count(), 5, "{text:?}");
        assert!(text.contains("linux\u{fffd}/a b/\u{fffd}v x/\u{fffd}]0;title\u{fffd}"), "{text:?}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{2066}']), "{text:?}");
    }
}
