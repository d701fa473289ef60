//! What a layout directory and an OCI archive have in common: an index, and manifests by digest.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::index::{Entry, Index};
use crate::endpoint::Name;
use crate::error::{Error, Mismatch, Result, What};
use crate::manifest::Manifest;
use crate::media::{self, Class};

/// The most manifests that one question may read: an absurd index must end in an error, not in hours.
const MAX_VISITED: usize = 100_000;

/// A place with an `index.json`.
#[async_trait]
pub(crate) trait Catalog: Send + Sync {
    /// The index as it is now.
    async fn index(&self) -> Result<Index>;

    /// The bytes of a manifest, unverified; nothing where they are missing, which is legal.
    async fn bytes(&self, digest: &Digest) -> Result<Option<Bytes>>;

    /// Whether a blob is there in its full size.
    async fn holds(&self, blob: &Descriptor) -> Result<bool>;

    /// The location, to be named in errors.
    fn place(&self) -> String;
}

/// The manifest called `name`, verified.
pub(crate) async fn manifest(catalog: &impl Catalog, name: &Name) -> Result<Manifest> {
    let entry = match name {
        Name::Digest(digest) => {
            let index = catalog.index().await?;
            let entry = index.with_digest(digest).map(|entry| entry.descriptor(&catalog.place()));
            return load(catalog, digest, entry.transpose()?.as_ref(), name).await;
        }
        _ => find(catalog, name).await?,
    };
    load(catalog, entry.digest(), Some(&entry), name).await
}

/// The digest of the manifest called `name`; the manifest itself may be missing if the index names it.
pub(crate) async fn resolve(catalog: &impl Catalog, name: &Name) -> Result<Digest> {
    match name {
        Name::Digest(digest) => Ok(manifest(catalog, name).await.map(|_| digest.clone())?),
        _ => Ok(find(catalog, name).await?.digest().clone()),
    }
}

/// The digest of the manifest called `name` if it and everything it names is there.
pub(crate) async fn whole(catalog: &impl Catalog, name: &Name) -> Result<Option<Digest>> {
    let root = match manifest(catalog, name).await {
        Ok(manifest) => manifest,
        Err(error) if error.is_not_found() => return Ok(None),
        // What is broken here is written anew.
        Err(Error::Integrity { .. }) => return Ok(None),
        // Several images: none of them is the one that comes without a name.
        Err(Error::Invalid { .. }) if *name == Name::Only => return Ok(None),
        Err(error) => return Err(error),
    };
    let digest = root.digest().clone();
    let mut seen = HashSet::from([digest.to_string()]);
    let mut waiting = vec![root];
    while let Some(manifest) = waiting.pop() {
        for blob in manifest.child_blobs() {
            if !media::is_foreign(blob.media_type().as_ref()) && !catalog.holds(blob).await? {
                return Ok(None);
            }
        }
        for child in manifest.child_manifests() {
            if !seen.insert(child.digest().to_string()) {
                continue;
            }
            check_visited(seen.len(), &catalog.place())?;
            match load(catalog, child.digest(), Some(child), name).await {
                Ok(child) => waiting.push(child),
                Err(_) => return Ok(None),
            }
        }
    }
    Ok(Some(digest))
}

/// Manifests whose subject is `subject`: those reachable from the index, and those that a fallback tag lists
/// (distribution-spec "Referrers Tag Schema").
pub(crate) async fn referrers(catalog: &impl Catalog, subject: &Digest) -> Result<Vec<Descriptor>> {
    let index = catalog.index().await?;
    let fallback = fallback_tag(subject);
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = Vec::new();
    for entry in index.entries() {
        // A broken entry is the trouble of who asks for it by name.
        if let Ok(descriptor) = entry.descriptor(&catalog.place()) {
            waiting.push((descriptor, entry.tag() == Some(&fallback)));
        }
    }
    waiting.reverse();
    while let Some((descriptor, lists_referrers)) = waiting.pop() {
        let name = Name::Digest(descriptor.digest().clone());
        if media::class(descriptor.media_type().as_ref()) == Class::Blob
            || !seen.insert(descriptor.digest().to_string())
        {
            continue;
        }
        check_visited(seen.len(), &catalog.place())?;
        let manifest = match load(catalog, descriptor.digest(), Some(&descriptor), &name).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_not_found() && lists_referrers => return Err(error),
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        if manifest.subject().is_some_and(|of| of.digest() == subject) {
            found.push(as_referrer(&manifest));
        }
        let children = manifest.child_manifests().into_iter().rev();
        waiting.extend(children.map(|child| (child.clone(), false)));
    }
    Ok(found)
}

/// The entry called `name`, which is no digest.
async fn find(catalog: &impl Catalog, name: &Name) -> Result<Descriptor> {
    let place = catalog.place();
    let index = catalog.index().await?;
    if let Name::Tag(tag) = name {
        let missing = || Error::not_found("find image", format_args!("{place}:{tag}"), tags_of(&index));
        return index.tagged(tag).ok_or_else(missing)?.descriptor(&place);
    }
    let mut entries = Vec::new();
    for entry in index.entries().filter(|entry| !is_fallback_tag(entry.tag())) {
        let descriptor = entry.descriptor(&place)?;
        if entries.iter().all(|(known, _): &(Descriptor, bool)| known.digest() != descriptor.digest()) {
            entries.push((descriptor, entry.tag().is_some()));
        }
    }
    // Signatures and the like stand in the index as well, without a tag; they are not what is meant.
    if entries.len() > 1 {
        let mut images = Vec::new();
        for (descriptor, tagged) in entries {
            if tagged || !is_referrer(catalog, &descriptor).await? {
                images.push((descriptor, tagged));
            }
        }
        entries = images;
    }
    match entries.len() {
        0 => Err(Error::not_found("find image", place, "it holds no image")),
        1 => Ok(entries.remove(0).0),
        several => {
            let reason = format!("it holds {several} images, name one; {}", tags_of(&index));
            Err(Error::invalid("find image", place, reason))
        }
    }
}

async fn is_referrer(catalog: &impl Catalog, descriptor: &Descriptor) -> Result<bool> {
    let name = Name::Digest(descriptor.digest().clone());
    match load(catalog, descriptor.digest(), Some(descriptor), &name).await {
        Ok(manifest) => Ok(manifest.subject().is_some()),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads and verifies a manifest; `expected` is what named it.
async fn load(
    catalog: &impl Catalog,
    digest: &Digest,
    expected: Option<&Descriptor>,
    name: &Name,
) -> Result<Manifest> {
    let place = catalog.place();
    let source = match name {
        Name::Tag(tag) => format!("{place}:{tag}"),
        Name::Digest(digest) => format!("{place}@{digest}"),
        Name::Only => place,
    };
    let Some(bytes) = catalog.bytes(digest).await? else {
        let reason = match expected {
            Some(_) => format!("manifest {digest} is named but not there"),
            None => String::new(),
        };
        return Err(Error::not_found("read manifest", source, reason));
    };
    let actual = bytes.len() as u64;
    if let Some(expected) = expected.map(Descriptor::size).filter(|expected| *expected != actual) {
        let mismatch = Mismatch::Size { expected, actual };
        return Err(Error::Integrity { what: What::new("read manifest", source), mismatch });
    }
    Manifest::parse(bytes, expected.map(|entry| entry.media_type().as_ref()), Some(digest), &source)
}

/// A manifest as the referrers API describes it (distribution-spec "Listing Referrers").
fn as_referrer(manifest: &Manifest) -> Descriptor {
    let mut descriptor = manifest.descriptor().clone();
    descriptor.set_artifact_type(manifest.artifact_type().map(MediaType::from));
    let text = |(key, value): (&String, &serde_json::Value)| Some((key.clone(), value.as_str()?.to_owned()));
    descriptor.set_annotations(manifest.annotations().map(|all| all.iter().filter_map(text).collect()));
    descriptor
}

/// `sha256-<hex>`, the tag that lists referrers where there is no API.
fn fallback_tag(subject: &Digest) -> String {
    subject.as_ref().replacen(':', "-", 1)
}

fn is_fallback_tag(tag: Option<&str>) -> bool {
    tag.is_some_and(|tag| {
        tag.replacen('-', ":", 1)
            .parse::<Digest>()
            .is_ok_and(|digest| digest.algorithm().digest_hexlen().is_some())
    })
}

fn tags_of(index: &Index) -> String {
    let tags: Vec<&str> = index.entries().filter_map(Entry::tag).take(11).collect();
    match tags.len() {
        0 => "it has no tags".to_owned(),
        1..=10 => format!("its tags are {}", tags.join(", ")),
        _ => format!("its tags are {} and others", tags[..10].join(", ")),
    }
}

fn check_visited(visited: usize, place: &str) -> Result<()> {
    if visited > MAX_VISITED {
        return Err(Error::refused(
            "read index",
            place,
            format_args!("it names over {MAX_VISITED} manifests"),
        ));
    }
    Ok(())
}
