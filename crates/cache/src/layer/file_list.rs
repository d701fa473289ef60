//! The names a layer has.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::plain_read::{Watched, plain};
use crate::error::{Error, Result, What};

const OPERATION: &str = "list files of";

/// The names of the entries of a layer, compressed in any way: sorted by their bytes, each once, without `/` or `./`
/// before and `/` behind. Whiteouts are among them under the names they have; the root is not.
///
/// Blocks until all of it is read.
///
/// # Errors
/// [`Error::Invalid`] for what is no tar, damaged or cut short, [`Error::Cancelled`], [`Error::Io`] if `layer` fails.
pub fn file_list(layer: impl Read, cancel: &CancellationToken) -> Result<Vec<PathBuf>> {
    let names = names(layer, cancel).map_err(|source| {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        let what = What::new(OPERATION, "layer");
        match source.kind() {
            _ if cancel.is_cancelled() => Error::Cancelled { what },
            InvalidData | InvalidInput | UnexpectedEof | Other if source.raw_os_error().is_none() => {
                Error::Invalid { what, reason: source.to_string() }
            }
            _ => Error::Io { what, path: PathBuf::from("input"), source },
        }
    })?;
    Ok(names.into_iter().map(|name| PathBuf::from(OsString::from_vec(name))).collect())
}

fn names(layer: impl Read, cancel: &CancellationToken) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    let mut plain = plain(Watched { inner: layer, cancel })?;
    let mut archive = tar::Archive::new(&mut plain);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let mut name = entry.path_bytes().into_owned();
        // A file without its holes has its name elsewhere (GNU tar manual, "PAX Format, Versions 0.1 and 1.0").
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            if record.key_bytes() == b"GNU.sparse.name" {
                name = record.value_bytes().to_vec();
            }
        }
        let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let name = parts.collect::<Vec<_>>().join(&b'/');
        if !name.is_empty() {
            names.insert(name);
        }
    }
    // What follows the tar is read too: it may be cut short or damaged there.
    io::copy(&mut plain, &mut io::sink())?;
    Ok(names)
}
