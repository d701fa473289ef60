//! `index.json`, changed without losing what we do not know (image-spec "Image Layout", "index.json file").

use oci_spec::image::{Descriptor, Digest};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::manifest::{self, Manifest};
use crate::media;

/// The annotation that holds a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The document with all its fields in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    fields: Map<String, Value>,
}

impl Index {
    /// An index without entries.
    pub(crate) fn empty() -> Self {
        let mut fields = Map::new();
        fields.insert("schemaVersion".into(), json!(2));
        fields.insert("mediaType".into(), json!(media::OCI_INDEX));
        fields.insert("manifests".into(), json!([]));
        Self { fields }
    }

    /// Reads the document; `place` is named in errors. Entries are looked at only when asked for.
    pub(crate) fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        let broken = |reason: String| Error::invalid("read index.json", place, reason);
        let fields: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| broken(format!("not an index: {error}")))?;
        match fields.get("schemaVersion") {
            Some(version) if version.as_u64() != Some(2) => {
                return Err(broken(format!("schemaVersion is {version}, not 2")));
            }
            _ => {}
        }
        match fields.get("manifests") {
            None | Some(Value::Null | Value::Array(_)) => Ok(Self { fields }),
            Some(_) => Err(broken("manifests is not a list".to_owned())),
        }
    }

    /// The document as it is written.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        Value::Object(self.fields.clone()).to_string().into_bytes()
    }

    /// All entries in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.fields.get("manifests").and_then(Value::as_array).into_iter().flatten().map(Entry)
    }

    /// The entry of a tag: the first match (image-spec "Image Index").
    pub(crate) fn tagged(&self, tag: &str) -> Option<Entry<'_>> {
        self.entries().find(|entry| entry.tag() == Some(tag))
    }

    /// The first entry of a digest.
    pub(crate) fn with_digest(&self, digest: &Digest) -> Option<Entry<'_>> {
        self.entries().find(|entry| entry.digest() == Some(digest.as_ref()))
    }

    /// Gives `tag` to a manifest. The entry that had it is replaced in its place; those it shadowed go.
    pub(crate) fn tag(&mut self, tag: &str, manifest: &Manifest) {
        let current = self.tagged(tag).and_then(|entry| entry.digest().map(str::to_owned));
        if current.as_deref() == Some(manifest.digest().as_ref()) {
            // The entry may have fields that we do not know.
            return;
        }
        self.change(|entries| {
            let mut new = Some(entry_of(manifest, Some(tag)));
            entries.retain_mut(|entry| {
                if Entry(entry).tag() != Some(tag) {
                    return true;
                }
                new.take().map(|new| *entry = new).is_some()
            });
            entries.extend(new);
        });
    }

    /// Keeps a manifest reachable without a tag.
    pub(crate) fn add_root(&mut self, manifest: &Manifest) {
        if self.with_digest(manifest.digest()).is_none() {
            self.change(|entries| entries.push(entry_of(manifest, None)));
        }
    }

    /// Removes a tag with its entries.
    pub(crate) fn untag(&mut self, tag: &str) {
        self.change(|entries| entries.retain(|entry| Entry(entry).tag() != Some(tag)));
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut entries = match self.fields.get_mut("manifests").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            // Go writes an empty list as null.
            _ => Vec::new(),
        };
        change(&mut entries);
        self.fields.insert("manifests".into(), Value::Array(entries));
    }
}

/// One entry, as yet unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a>(&'a Value);

impl<'a> Entry<'a> {
    /// The tag, if it has one.
    pub(crate) fn tag(self) -> Option<&'a str> {
        self.0.get("annotations")?.get(REF_NAME)?.as_str()
    }

    /// The digest as written, which may be anything.
    pub(crate) fn digest(self) -> Option<&'a str> {
        self.0.get("digest")?.as_str()
    }

    /// The descriptor, checked: the digest is one, the size is a number.
    pub(crate) fn descriptor(self, place: &str) -> Result<Descriptor> {
        manifest::lenient(self.0.clone())
            .map_err(|error| Error::invalid("read index.json", place, format!("broken entry: {error}")))
    }
}

/// The entry to write for a manifest.
fn entry_of(manifest: &Manifest, tag: Option<&str>) -> Value {
    let mut entry = Map::new();
    entry.insert("mediaType".into(), json!(manifest.media_type()));
    entry.insert("digest".into(), json!(manifest.digest().as_ref()));
    entry.insert("size".into(), json!(manifest.descriptor().size()));
    if let Some(kind) = artifact_type(manifest) {
        entry.insert("artifactType".into(), json!(kind));
    }
    if let Some(tag) = tag {
        entry.insert("annotations".into(), json!({ REF_NAME: tag }));
    }
    Value::Object(entry)
}

/// The artifact type of what is not an image.
fn artifact_type(manifest: &Manifest) -> Option<&str> {
    manifest.artifact_type().filter(|kind| !matches!(*kind, media::OCI_CONFIG | media::DOCKER_CONFIG))
}

/// Refuses what cannot stand as a tag in a layout.
pub(crate) fn check_tag(tag: &str, place: &str) -> Result<()> {
    if tag.is_empty() || tag.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid("tag", format_args!("{place}:{}", tag.escape_debug()), "malformed tag"));
    }
    Ok(())
}
