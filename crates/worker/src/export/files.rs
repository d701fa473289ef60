//! The files of results, in a directory or in a tar.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use lazyblob_cache::export::TarTree;
use lazyblob_cache::{ExtractOptions, Extracted};
use lazyblob_remote::Access;

use super::base::Part;
use crate::error::{Error, Result};
use crate::llb::pb::Platform;
use crate::worker::Worker;

/// Puts the files of results into `dest`, which is made if it does not exist: what is there stays, unless a result has
/// something of that name. Those of several platforms go to directories of their own, `linux_amd64`, unless `split` says
/// otherwise. Files are the caller's.
///
/// # Errors
/// [`Error::Cache`] with those of
/// [`Manager::merge_into`](lazyblob_cache::Manager::merge_into).
pub async fn directory(
    worker: &Worker,
    parts: &[Part],
    dest: &Path,
    split: Option<bool>,
    access: &Access,
) -> Result<Extracted> {
    let options = ExtractOptions { unprivileged: true, keep_setuid: false };
    let mut all = Extracted::default();
    for part in parts {
        let dir = match directory_of(&part.platform, parts.len(), split) {
            Some(name) => dest.join(name),
            None => dest.to_owned(),
        };
        let tree = part.result.tree().cloned();
        let put = worker.manager().merge_into(tree, &dir, options, access).await?;
        all.entries += put.entries;
        all.bytes += put.bytes;
        all.skipped.devices += put.skipped.devices;
        all.skipped.setuid += put.skipped.setuid;
        all.skipped.xattrs += put.skipped.xattrs;
    }
    Ok(all)
}

/// Writes the files of results as one tar to `out`, those of several platforms in directories of their own; no time is
/// later than `epoch`, in seconds since 1970. The same files make the same bytes.
///
/// # Errors
/// [`Error::Cache`] with those of [`Manager::tar_of`](lazyblob_cache::Manager::tar_of); [`Error::Failed`] for several
/// platforms that are not to be split, and that a tar cannot hold as one.
pub async fn tar<W: Write + Send + 'static>(
    worker: &Worker,
    parts: &[Part],
    out: W,
    split: Option<bool>,
    epoch: Option<u64>,
    access: &Access,
) -> Result<W> {
    if split == Some(false) && parts.len() > 1 {
        let reason = "a tar of several platforms has a directory for each: leave out platform-split=false";
        return Err(Error::failed("export", "tar", reason));
    }
    let trees = parts.iter().map(|part| TarTree {
        directory: directory_of(&part.platform, parts.len(), split),
        tree: part.result.tree().cloned(),
    });
    Ok(worker.manager().tar_of(trees.collect(), out, epoch, access).await?)
}

/// The directory of a platform, if it has one.
fn directory_of(platform: &Platform, count: usize, split: Option<bool>) -> Option<String> {
    let Platform { os, architecture, variant, .. } = platform;
    let parts = [os, architecture, variant].map(String::as_str);
    let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    split.unwrap_or(count > 1).then_some(name)
}

/// A file that appears under its name when it is whole, and durable, and not before.
pub(super) struct NewFile {
    target: PathBuf,
    partial: PathBuf,
    is_named: bool,
}

impl NewFile {
    /// Begins the file `target`. What is written goes to what is returned with it.
    pub(super) fn create(target: &Path) -> Result<(Self, BufWriter<File>)> {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", nonce()));
        let partial = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial);
        let file = file.map_err(|error| Error::io("export to", target, error))?;
        Ok((Self { target: target.to_owned(), partial, is_named: false }, BufWriter::new(file)))
    }

    /// Gives it its name. Blocking.
    pub(super) fn finish(mut self, out: BufWriter<File>) -> Result<()> {
        let failed = |error| Error::io("export to", &self.target, error);
        let written = out.into_inner().map_err(io::IntoInnerError::into_error);
        written.and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(&self.partial, &self.target).map_err(failed)?;
        self.is_named = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new(".")));
        let synced = parent.and_then(|parent| parent.sync_all());
        synced.map_err(|error| Error::io("export to", &self.target, error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // It may never have been made.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// What tells this one from all others of its name.
pub(super) fn nonce() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
