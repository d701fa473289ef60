//! One source of blobs.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use oci_spec::image::Descriptor;

use crate::error::Result;
use crate::verify::Unverified;

/// Where a provider's bytes come from: enough to mount a blob or to name the source in an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `HOST[:PORT]` of a registry, or the kind of a local location (`oci`, `docker-archive`).
    pub host: String,
    /// The repository in that registry, or the path of a local location.
    pub repository: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A local place is written as it is on the command line.
        let between = if matches!(&*self.host, "oci" | "oci-archive" | "docker-archive") { ':' } else { '/' };
        write!(f, "{}{between}{}", self.host, self.repository)
    }
}

/// What is known of a blob without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Size in bytes, where the source says.
    pub size: Option<u64>,
}

/// One source of blobs: one `open`, one response. Retries, resume and alternates are the transfer's business.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// Opens `range` (bytes, end exclusive) of the blob; the answer says where it really begins.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where the source lacks the blob, and whatever the way to it brings.
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified>;

    /// Looks without reading.
    ///
    /// # Errors
    /// As [`Provider::open`].
    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo>;

    /// Is told that what it brought of `blob` was something else. Says whether it knows another place to bring it from,
    /// so that reading it once more is of use.
    fn distrust(&self, _blob: &Descriptor) -> bool {
        false
    }

    /// Is told that what it brought of `blob` broke off again and again. Says whether it asks for it at another place
    /// from now on, and there only if nothing else helps.
    fn avoid(&self, _blob: &Descriptor) -> bool {
        false
    }

    /// Where the bytes come from. Costs nothing.
    fn origin(&self) -> Origin;

    /// The host whose slots reading takes; nothing where the bytes are here, or where opening fetches them.
    fn host(&self) -> Option<&str> {
        None
    }

    /// Whether [`Provider::open`] may first fetch the blob, by a transfer with slots of its own. It is then opened before
    /// a slot is taken for what is to be done with the bytes: one must not wait for the other.
    fn fetches(&self) -> bool {
        false
    }

    /// Repositories of registries that are known to have `blob`: where a target may mount it from. Costs nothing.
    fn seen_at(&self, _blob: &Descriptor) -> Vec<Origin> {
        self.host().map(|_| self.origin()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_it_is_asked_for() {
        let at = |host: &str, repository: &str| {
            Origin { host: host.to_owned(), repository: repository.to_owned() }.to_string()
        };
        assert_eq!(at("h.test:5000", "team/app"), "h.test:5000/team/app");
        assert_eq!(at("oci", "/a/b"), "oci:/a/b");
        assert_eq!(at("docker-archive", "a.tar"), "docker-archive:a.tar");
    }
}
