//! Removing from a layout what nothing in it names.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::{Digest, Source as _};

use crate::error::{Error, Result};

const OPERATION: &str = "reset cache directory";

/// Removes all blobs that neither the index nor a manifest in it names and that were there before `since`: what others are
/// bringing meanwhile stays. Returns how many.
pub(super) async fn reset(layout: &Layout, since: SystemTime) -> Result<usize> {
    let mut named: HashSet<Digest> = HashSet::new();
    let mut waiting: Vec<Digest> =
        layout.roots().await?.into_iter().map(|(_, root)| root.digest().clone()).collect();
    while let Some(digest) = waiting.pop() {
        if !named.insert(digest.clone()) {
            continue;
        }
        let manifest = match layout.manifest(&Name::Digest(digest)).await {
            // A layout may be sparse.
            Err(error) if error.is_not_found() => continue,
            manifest => manifest?,
        };
        named.extend(manifest.child_blobs().into_iter().map(|blob| blob.digest().clone()));
        waiting.extend(manifest.child_manifests().into_iter().map(|child| child.digest().clone()));
    }
    let blobs = layout.root().join("blobs");
    let removing = tokio::task::spawn_blocking(move || remove(&blobs, &named, since));
    removing.await.map_err(|error| Error::failed(OPERATION, layout.root().display(), error))?
}

fn remove(blobs: &Path, named: &HashSet<Digest>, since: SystemTime) -> Result<usize> {
    let mut removed = 0;
    for algorithm in entries(blobs)? {
        for blob in entries(&algorithm)? {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let digest =
                name(&algorithm).zip(name(&blob)).map(|(algorithm, hex)| format!("{algorithm}:{hex}"));
            // What is no blob's name is not ours.
            let Some(digest) = digest.and_then(|digest| digest.parse::<Digest>().ok()) else { continue };
            let io = |error| Error::io(OPERATION, &blob, error);
            if named.contains(&digest) {
                continue;
            }
            let about = fs::symlink_metadata(&blob).map_err(io)?;
            if about.is_file() && about.modified().map_err(io)? < since {
                fs::remove_file(&blob).map_err(io)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    let io = |error: io::Error| Error::io(OPERATION, directory, error);
    let entries = match fs::read_dir(directory) {
        // A file among the algorithms is none.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(io)?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(io)).collect()
}
