//! The layers of a result as an image has them.

use std::collections::{BTreeMap, HashMap};

use lazyblob_cache::ImmutableRef;
use lazyblob_cache::layer::{Family, LayerType};
use lazyblob_cache::record::LayerBlob;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_remote::{Access, Descriptor, Digest};

use super::base::Part;
use super::options::ImageOptions;
use crate::error::{Error, Result};
use crate::image::BaseImage;
use crate::worker::Worker;

/// Annotations that builders use among themselves (BuildKit row 107).
const INTERNAL: [&str; 2] = ["containerd.io/uncompressed", "buildkit/createdat"];
const INTERNAL_PREFIX: &str = "containerd.io/distribution.source.";

/// A result's layers, each with a blob that is here or that somebody can bring.
pub(super) struct Layers {
    /// The tree they make; nothing if there are none.
    pub(super) tree: Option<ImmutableRef>,
    /// Their blobs as the cache has them, the bottom one first.
    pub(super) blobs: Vec<Descriptor>,
    /// What each uncompresses to, and what made it.
    pub(super) diff_ids: Vec<(Digest, String)>,
    /// How many of the lowest ones are the base's.
    pub(super) of_base: usize,
}

impl Layers {
    /// Blobs, and what they uncompress to.
    pub(super) fn all(&self) -> Vec<LayerBlob> {
        let pairs = self.blobs.iter().zip(&self.diff_ids);
        pairs
            .map(|(descriptor, (diff_id, _))| LayerBlob {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
            })
            .collect()
    }
}

/// Makes blobs where there are none, and others where `options` want them. What need not be read stays lazy.
///
/// # Errors
/// Those of [`ImmutableRef::make_blobs`], [`ImmutableRef::converted`] and [`ImmutableRef::rewritten`].
pub(super) async fn layers(
    worker: &Worker,
    part: &Part,
    options: &ImageOptions,
    access: &Access,
) -> Result<Layers> {
    let Some(tree) = part.result.tree() else {
        return Ok(Layers { tree: None, blobs: Vec::new(), diff_ids: Vec::new(), of_base: 0 });
    };
    let blobs = wanted(worker, options);
    tree.make_blobs(&blobs, access).await?;
    let mut tree = tree.clone();
    let of_base = shared(&listed(&tree)?.1, part.base.as_ref());
    if let (true, Some(epoch)) = (options.rewrite_timestamp, options.epoch) {
        tree = tree.rewritten(of_base, epoch, &blobs, access).await?;
    }
    if options.force_compression {
        tree = tree.converted(&blobs, access).await?;
    }
    let (blobs, diff_ids) = listed(&tree)?;
    // A ref of no layers, such as what two equal trees differ in.
    let tree = (!blobs.is_empty()).then_some(tree);
    Ok(Layers { tree, blobs, diff_ids, of_base })
}

/// How an image's blobs are made.
pub(super) fn wanted(worker: &Worker, options: &ImageOptions) -> BlobOptions {
    let family = options.family.unwrap_or(Family::Oci);
    BlobOptions {
        layer: LayerType::new(family, options.compression.algorithm()),
        compression: options.compression,
        threads: u32::try_from(worker.manager().settings().cpus).unwrap_or(1),
    }
}

type Listed = (Vec<Descriptor>, Vec<(Digest, String)>);

fn listed(tree: &ImmutableRef) -> Result<Listed> {
    let mut listed = Listed::default();
    for layer in tree.layers() {
        let record = layer.record();
        let Some(blob) = record.blob.clone() else {
            return Err(Error::failed("export", &record.id, "no blob was made of a layer"));
        };
        listed.0.push(blob.descriptor);
        listed.1.push((blob.diff_id, record.description.clone()));
    }
    Ok(listed)
}

/// How many layers a stack has in common with its base, from the bottom up.
fn shared(diff_ids: &[(Digest, String)], base: Option<&BaseImage>) -> usize {
    let below = base.map(BaseImage::layers).unwrap_or_default();
    diff_ids.iter().zip(below).take_while(|((own, _), below)| *own == below.diff_id).count()
}

/// What a manifest says of a layer: its type under the names of `family`, to be distributed unless it must not and
/// `prefer_nondist`, without what only builders go by.
pub(super) fn shown(blob: &Descriptor, family: Family, prefer_nondist: bool) -> Descriptor {
    let kind = LayerType::parse(blob.media_type().as_ref());
    let kind = kind.map(|kind| LayerType { family, ..kind.foreign(kind.foreign && prefer_nondist) });
    let media_type = kind.map_or_else(|| blob.media_type().to_string(), |kind| kind.media_type().to_owned());
    let mut shown = Descriptor::new(media_type.as_str().into(), blob.size(), blob.digest().clone());
    if kind.is_none_or(|kind| kind.foreign) {
        shown.set_urls(blob.urls().clone().filter(|urls| !urls.is_empty()));
    }
    // Docker's descriptors have none.
    if family == Family::Oci {
        shown.set_annotations(public(blob).map(|annotations| annotations.into_iter().collect()));
    }
    shown
}

fn public(blob: &Descriptor) -> Option<HashMap<String, String>> {
    let annotations = blob.annotations().as_ref()?;
    let is_public = |key: &str| !INTERNAL.contains(&key) && !key.starts_with(INTERNAL_PREFIX);
    let kept: HashMap<_, _> = annotations
        .iter()
        .filter(|(key, _)| is_public(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!kept.is_empty()).then_some(kept)
}

/// A descriptor as JSON, in the same order every time.
pub(super) fn described(descriptor: &Descriptor) -> serde_json::Value {
    let mut described = serde_json::json!({
        "mediaType": descriptor.media_type(),
        "digest": descriptor.digest(),
        "size": descriptor.size(),
    });
    if let Some(urls) = descriptor.urls() {
        described["urls"] = serde_json::json!(urls);
    }
    if let Some(annotations) = descriptor.annotations() {
        described["annotations"] = serde_json::json!(annotations.iter().collect::<BTreeMap<_, _>>());
    }
    described
}

#[cfg(test)]
mod tests {
    use lazyblob_remote::{digest, media};

    use super::*;

    fn blob(media_type: &str) -> Descriptor {
        let mut blob = Descriptor::new(media_type.into(), 7, digest::sha256(b"layer"));
        blob.set_urls(Some(vec!["https://elsewhere.test/l".to_owned()]));
        let annotations = [
            "own",
            "buildkit/createdat",
            "containerd.io/uncompressed",
            "containerd.io/distribution.source.h.test",
        ];
        blob.set_annotations(Some(annotations.map(|key| (key.to_owned(), "x".to_owned())).into()));
        blob
    }

    /// BuildKit rows 27, 107: foreign layers become distributable without their addresses or stay what they are; internal
    /// annotations are stripped.
    #[test]
    fn a_manifest_says_what_everybody_may_know() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let plain = shown(&blob(foreign), Family::Oci, false);
        assert_eq!((plain.media_type().as_ref(), plain.urls()), (media::OCI_LAYER_GZIP, &None));
        assert_eq!(plain.annotations().as_ref().unwrap().keys().collect::<Vec<_>>(), ["own"]);
        let kept = shown(&blob(foreign), Family::Oci, true);
        assert_eq!(
            kept.media_type().as_ref(),
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        );
        assert_eq!(kept.urls(), blob(foreign).urls());
        let docker = shown(&blob(media::OCI_LAYER_ZSTD), Family::Docker, true);
        assert_eq!(docker.media_type().as_ref(), "application/vnd.docker.image.rootfs.diff.tar.zstd");
        assert_eq!((docker.urls(), docker.annotations()), (&None, &None));
        let unknown = shown(&blob("application/x-other"), Family::Docker, false);
        assert_eq!(unknown.media_type().as_ref(), "application/x-other");
        assert_eq!(unknown.urls(), blob("x").urls());
    }
}
