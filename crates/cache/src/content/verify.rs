//! Whether a blob on disk is still what its name says.

use std::io::Read as _;

use lazyblob_remote::What;
use lazyblob_remote::verify::Verifier;
use oci_spec::image::Descriptor;
use tokio_util::sync::CancellationToken;

use super::Store;
use crate::error::{Error, IoContext as _, Result};

const OPERATION: &str = "verify blob";
/// Bytes read at a time: after each it is looked whether somebody still wants it.
const CHUNK: usize = 256 * 1024;

impl Store {
    /// Reads a blob and holds it against its descriptor. One that proves wrong is not known to be here any more; it
    /// stays where it is. Blocking.
    ///
    /// # Errors
    /// Those of [`Store::open_file`]; [`Error::Integrity`] for other content than the digest names,
    /// [`Error::Cancelled`] when `cancel` is.
    pub fn verify_blob(&self, blob: &Descriptor, cancel: &CancellationToken) -> Result<()> {
        let mut file = self.open_file(blob)?;
        let (path, mut verifier) = (self.path(blob.digest())?, Verifier::new(blob)?);
        let what = || What::new(OPERATION, blob.digest());
        let wrong = |mismatch| {
            self.lost(blob.digest());
            Error::Integrity { what: what(), mismatch }
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: what() });
            }
            let read = match file.read(&mut chunk) {
                Ok(0) => return verifier.finish().map_err(wrong),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).during(OPERATION, blob.digest(), &path),
            };
            verifier.update(&chunk[..read]).map_err(wrong)?;
        }
    }
}
