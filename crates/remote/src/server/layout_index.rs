//! The names of a layout: entries of `index.json`. Callers hold the directory's lock.

use std::path::Path;

use oci_spec::image::Descriptor;
use serde_json::{Map, Value, json};

use super::backend::{Change, Named};
use super::layout_backend::{sync_directory, write_durably};
use crate::error::{Error, Result};
use crate::media;
use crate::reference::RepositoryName;

const INDEX: &str = "index.json";
/// Complete on disk before it becomes `index.json`.
const NEXT: &str = ".index.json.next";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Digests of [`Named::absent`], with blanks between.
const ABSENT: &str = "lazyblob.absent";

/// An index without entries.
pub(super) fn create(directory: &Path) -> Result<()> {
    replace(directory, &json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [] }))
}

/// Every entry whose name is one of ours.
pub(super) fn names(directory: &Path) -> Result<Vec<Named>> {
    let index = read(directory)?;
    Ok(entries(&index).iter().filter_map(named).collect())
}

/// Applies a change. Entries of others, and whatever else the file says, stay as they are and where they are.
pub(super) fn change(directory: &Path, repository: &str, change: &Change) -> Result<()> {
    let mut index = read(directory)?;
    let (ours, mut kept): (Vec<Value>, Vec<Value>) =
        entries(&index).iter().cloned().partition(|entry| named(entry).is_some());
    let before: Vec<Named> = ours.iter().filter_map(named).collect();
    let mut after = before.clone();
    change.apply(repository, &mut after);
    if after == before {
        return Ok(());
    }
    for name in after {
        // An entry that stays keeps its fields; only new ones are made.
        let old = before.iter().position(|old| *old == name).and_then(|at| ours.get(at));
        kept.push(old.cloned().unwrap_or_else(|| entry(&name)));
    }
    if let Some(fields) = index.as_object_mut() {
        fields.insert("manifests".to_owned(), Value::Array(kept));
    }
    replace(directory, &index)
}

fn read(directory: &Path) -> Result<Value> {
    let path = directory.join(INDEX);
    let bytes =
        std::fs::read(&path).map_err(|e| Error::io("read index of", directory.display(), &path, e))?;
    let index: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Error::invalid("read index of", directory.display(), format!("index.json: {error}"))
    })?;
    if index.get("manifests").is_some_and(|manifests| manifests.is_array() || manifests.is_null()) {
        return Ok(index);
    }
    Err(Error::invalid("read index of", directory.display(), "index.json has no list of manifests"))
}

fn replace(directory: &Path, index: &Value) -> Result<()> {
    let (next, path) = (directory.join(NEXT), directory.join(INDEX));
    let replace = || {
        write_durably(&next, index.to_string().as_bytes())?;
        std::fs::rename(&next, &path)?;
        sync_directory(directory)
    };
    replace().map_err(|error| Error::io("write index of", directory.display(), &path, error))
}

fn entries(index: &Value) -> &[Value] {
    index.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Reads an entry whose name is `repository:tag` or `repository@digest`.
fn named(entry: &Value) -> Option<Named> {
    let name = entry.get("annotations")?.get(REF_NAME)?.as_str()?;
    let manifest: Descriptor = serde_json::from_value(entry.clone()).ok()?;
    let (repository, tag) = match name.split_once('@') {
        Some((repository, digest)) if digest == manifest.digest().as_ref() => (repository, None),
        Some(_) => return None,
        None => name.rsplit_once(':').map(|(repository, tag)| (repository, Some(tag)))?,
    };
    let checked = RepositoryName::new("localhost", repository).ok()?;
    if let Some(tag) = tag {
        checked.tagged(tag).ok()?;
    }
    let absent = entry.get("annotations")?.get(ABSENT).and_then(Value::as_str).unwrap_or_default();
    let absent = absent.split_whitespace().filter_map(|digest| digest.parse().ok()).collect();
    let manifest = Descriptor::new(manifest.media_type().clone(), manifest.size(), manifest.digest().clone());
    Some(Named { repository: repository.to_owned(), tag: tag.map(str::to_owned), manifest, absent })
}

fn entry(named: &Named) -> Value {
    let Named { repository, tag, manifest, absent } = named;
    let name = match tag {
        Some(tag) => format!("{repository}:{tag}"),
        None => format!("{repository}@{}", manifest.digest()),
    };
    let mut annotations = Map::new();
    annotations.insert(REF_NAME.to_owned(), Value::String(name));
    if !absent.is_empty() {
        let absent: Vec<&str> = absent.iter().map(AsRef::as_ref).collect();
        annotations.insert(ABSENT.to_owned(), Value::String(absent.join(" ")));
    }
    json!({
        "mediaType": manifest.media_type().as_ref(),
        "digest": manifest.digest().as_ref(),
        "size": manifest.size(),
        "annotations": annotations,
    })
}
