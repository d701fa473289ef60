//! Images in memory, and the simplest copy there can be.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::{Ingest, Layout};
use lazyblob_remote::progress::Silent;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::transfer::{Blob, Retry, Settings};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{
    Access, Descriptor, Digest, Error, Manifest, Provider, Result, Source, Target, digest, media,
};
use serde_json::{Value, json};

/// Blobs in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    blobs: HashMap<String, Bytes>,
}

impl Memory {
    pub(crate) fn add(&mut self, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = descriptor(media_type, &bytes);
        self.blobs.insert(descriptor.digest().to_string(), bytes);
        descriptor
    }

    /// Other bytes than the digest says.
    pub(crate) fn corrupt(&mut self, blob: &Descriptor, bytes: impl Into<Bytes>) {
        self.blobs.insert(blob.digest().to_string(), bytes.into());
    }

    pub(crate) fn blob(&self, descriptor: &Descriptor) -> Blob {
        blob(Arc::new(self.clone()), descriptor)
    }
}

#[async_trait]
impl Provider for Memory {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        let bytes = self
            .blobs
            .get(blob.digest().as_ref())
            .ok_or_else(|| Error::not_found("read blob", blob.digest(), "not in memory"))?;
        let end = (bytes.len() as u64).min(range.end.max(range.start));
        let part = bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(end).unwrap());
        let chunks: Vec<_> = part.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Ok(Unverified::new(range.start..end, Box::pin(futures::stream::iter(chunks))))
    }

    async fn info(&self, _: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: None })
    }

    fn origin(&self) -> Origin {
        Origin { host: "memory".into(), repository: "test".into() }
    }
}

pub(crate) fn blob(source: Arc<dyn Provider>, descriptor: &Descriptor) -> Blob {
    let retry = Retry { tries: 1, ..Retry::default() };
    let settings = Settings { retry, ..Settings::default() };
    Blob::new(descriptor.clone(), &[source], settings, Access::anonymous())
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type.into(), bytes.len() as u64, digest::sha256(bytes))
}

pub(crate) fn manifest(value: &Value) -> Manifest {
    Manifest::parse(value.to_string().into(), None, None, "test").unwrap()
}

/// An ingest of a blob that the layout does not have.
pub(crate) async fn begin(layout: &Layout, blob: &Descriptor) -> Ingest {
    layout.ingests().begin(blob, &Silent).await.unwrap().unwrap()
}

/// Bytes without a pattern that compression could use.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

/// An uncompressed layer with one file.
pub(crate) fn tar_with(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of layers given as (media type, bytes, diffID's bytes).
pub(crate) fn image(memory: &mut Memory, layers: &[(&str, Vec<u8>, &[u8])]) -> Manifest {
    let diff_ids: Vec<String> =
        layers.iter().map(|(_, _, plain)| digest::sha256(plain).to_string()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = memory.add(media::OCI_CONFIG, config.to_string());
    let layers: Vec<Descriptor> =
        layers.iter().map(|(kind, bytes, _)| memory.add(kind, bytes.clone())).collect();
    manifest(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": layers,
    }))
}

/// A small image with a gzip layer and a plain one.
pub(crate) fn small_image(memory: &mut Memory, seed: u64) -> Manifest {
    let (first, second) =
        (tar_with("etc/one", &noise(3000, seed)), tar_with("etc/two", &noise(700_000, seed + 1)));
    image(
        memory,
        &[(media::OCI_LAYER_GZIP, gzip(&first), &first), (media::OCI_LAYER, second.clone(), &second)],
    )
}

/// Puts a manifest and its blobs out of memory.
pub(crate) async fn put(
    memory: &Memory,
    manifest: &Manifest,
    target: &dyn Target,
    name: &Name,
) -> Result<()> {
    for child in manifest.child_blobs() {
        target.put_blob(&memory.blob(child), None).await?;
    }
    target.put_manifest(manifest, name).await
}

/// Copies everything below `name` that is there, children first. Returns the root.
pub(crate) async fn copy(
    source: &dyn Source,
    from: &Name,
    target: &dyn Target,
    to: &Name,
) -> Result<Manifest> {
    let root = source.manifest(from).await?;
    let blobs = source.blobs();
    let mut waiting = vec![(root.clone(), to.clone(), false)];
    while let Some((manifest, name, children_done)) = waiting.pop() {
        if children_done {
            target.put_manifest(&manifest, &name).await?;
            continue;
        }
        for child in manifest.child_blobs() {
            match target.put_blob(&blob(Arc::clone(&blobs), child), None).await {
                Err(error) if error.is_not_found() => {}
                other => other?,
            }
        }
        waiting.push((manifest.clone(), name, true));
        for child in manifest.child_manifests() {
            let name = Name::Digest(child.digest().clone());
            match source.manifest(&name).await {
                Ok(manifest) => waiting.push((manifest, name, false)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(root)
}

pub(crate) fn tag(tag: &str) -> Name {
    Name::Tag(tag.into())
}

pub(crate) fn by(digest: &Digest) -> Name {
    Name::Digest(digest.clone())
}

/// All of a blob, verified.
pub(crate) async fn read(source: Arc<dyn Provider>, descriptor: &Descriptor) -> Result<Bytes> {
    blob(source, descriptor).read_whole(1 << 30).await
}

/// The bytes of a range, as the provider brings them.
pub(crate) async fn read_range(
    source: &dyn Provider,
    blob: &Descriptor,
    range: Range<u64>,
) -> Result<Vec<u8>> {
    use futures::TryStreamExt as _;
    let opened = source.open(blob, range).await?;
    let chunks: Vec<Bytes> = opened.into_stream().try_collect().await?;
    Ok(chunks.concat())
}
