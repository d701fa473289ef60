//! What `lazyblob inspect store:REF` says beside the manifest: what of it is here.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use lazyblob::cache::image::{About, AboutBlob, AboutImage};
use lazyblob::remote::error::printable;
use lazyblob::remote::provider::Origin;
use serde_json::{Value, json};

/// As JSON; sizes in bytes, times in seconds since 1970.
pub(super) fn document(about: &About) -> Value {
    let (size, lazy) = about.sizes();
    json!({
        "size": size,
        "lazy": lazy,
        "sources": sources(&about.sources),
        "images": about.images.iter().map(image).collect::<Vec<_>>(),
        "absent": about.absent,
    })
}

fn image(image: &AboutImage) -> Value {
    json!({
        "manifest": image.manifest.digest(),
        "platform": image.platform,
        "config": image.config.as_ref().map(blob),
        "damage": image.damage,
        "layers": image.layers.iter().map(blob).collect::<Vec<_>>(),
        "created": image.created.map(|at| at / 1000),
        "used": image.used.map(|used| json!({"at": used.at / 1000, "count": used.count})),
    })
}

fn blob(blob: &AboutBlob) -> Value {
    json!({
        "digest": blob.descriptor.digest(),
        "size": blob.descriptor.size(),
        "diff_id": blob.diff_id,
        "lazy": !blob.local,
        "unpacked": blob.unpacked,
        "sources": sources(&blob.sources),
    })
}

fn sources(sources: &[Origin]) -> Vec<String> {
    sources.iter().map(ToString::to_string).collect()
}

/// As lines.
pub(super) fn add(text: &mut String, about: &About) {
    let (size, lazy) = about.sizes();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  here    {} of {}", HumanBytes(size.saturating_sub(lazy)), HumanBytes(size));
    for source in &about.sources {
        let _ = writeln!(text, "  seen in {source}");
    }
    for image in &about.images {
        let platform = image.platform.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  image   {} {}", image.manifest.digest(), printable(platform));
        for (what, blob) in image
            .config
            .iter()
            .map(|blob| ("config", blob))
            .chain(image.layers.iter().map(|blob| ("layer", blob)))
        {
            let _ = writeln!(text, "    {what:6} {} {}", blob.descriptor.digest(), state(blob));
        }
    }
    for damage in about.images.iter().filter_map(|image| image.damage.as_deref()) {
        let _ = writeln!(text, "  damaged {}", printable(damage));
    }
    for manifest in &about.absent {
        let _ = writeln!(text, "  image   {} not pulled", manifest.digest());
    }
}

fn state(blob: &AboutBlob) -> String {
    let mut state = if blob.local { "local" } else { "lazy" }.to_owned();
    if blob.unpacked {
        state.push_str(", unpacked");
    }
    if !blob.local && !blob.sources.is_empty() {
        state.push_str(&format!(", from {}", sources(&blob.sources).join(" or ")));
    }
    state
}
