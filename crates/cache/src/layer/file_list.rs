//! The names a layer has.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use lazyblob_remote::What;
use lazyblob_remote::digest::Hasher;
use oci_spec::image::DigestAlgorithm;
use tokio_util::sync::CancellationToken;

use super::stream::Bytes;
use super::tarball::Reader;
use super::{Limits, uncompressed};
use crate::error::{Error, Result};

/// The names of the entries of a layer, compressed in any way: sorted by their bytes, each once, without `/` or `./`
/// before and `/` behind. Whiteouts are among them under the names they have; the root is not.
///
/// Blocks until all of it is read; decompression has a thread of its own.
///
/// # Errors
/// [`Error::Invalid`] for what is no tar, damaged or cut short, [`Error::Refused`] beyond the default limits on size and
/// ratio, [`Error::Cancelled`], [`Error::Io`] if `layer` fails.
pub fn file_list(layer: impl Read + Send, cancel: &CancellationToken) -> Result<Vec<PathBuf>> {
    let what = What::new("list files of", "layer");
    let names = uncompressed::read(layer, &what, cancel, |pipe| {
        let Some(hasher) = Hasher::new(&DigestAlgorithm::Sha256) else {
            return Err(Error::Invalid { what: what.clone(), reason: "cannot compute sha256".to_owned() });
        };
        let bytes = Bytes::new(pipe, hasher, Limits::default().size, what.clone(), cancel);
        let mut reader = Reader::new(bytes, what.clone());
        let mut names = BTreeSet::new();
        while let Some(entry) = reader.next()? {
            let parts =
                entry.path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
            names.insert(parts.collect::<Vec<_>>().join(&b'/'));
        }
        // What follows the tar is read too: it may be cut short or damaged there.
        reader.finish()?;
        Ok(names)
    })?;
    let names = names.into_iter().filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(OsString::from_vec(name))).collect())
}
