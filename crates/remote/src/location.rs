//! Locations: every place an image may come from or go to, as people write them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::image::Digest;

use crate::endpoint::Name;
use crate::error::{Error, Result};
use crate::reference::Reference;

/// A place and, within it, an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// `HOST/REPO[:TAG][@DIGEST]`
    Registry(Reference),
    /// A file or directory.
    Local(LocalImage),
    /// `store:REF`: an image in the cache of this machine, by its full name.
    Store(Reference),
}

/// An image in a local file or directory: `KIND:PATH[:TAG][@DIGEST]`. A path holds neither colon nor at-sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalImage {
    kind: LocalKind,
    path: PathBuf,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The formats a local image may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalKind {
    /// `oci:` an OCI image layout directory.
    Oci,
    /// `oci-archive:` the same in a tar file.
    OciArchive,
    /// `docker-archive:` what `docker save` writes and `docker load` reads.
    DockerArchive,
}

impl LocalKind {
    /// The prefix of such locations, without the colon.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

impl LocalImage {
    /// The format.
    #[must_use]
    pub fn kind(&self) -> LocalKind {
        self.kind
    }

    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image within.
    #[must_use]
    pub fn name(&self) -> Name {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Name::Digest(digest.clone()),
            (None, Some(tag)) => Name::Tag(tag.clone()),
            (None, None) => Name::Only,
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let kinds = [LocalKind::Oci, LocalKind::OciArchive, LocalKind::DockerArchive];
        let invalid = |reason: &str| Error::invalid("parse location", format_args!("`{text}`"), reason);
        for kind in kinds {
            let Some(rest) = text.strip_prefix(kind.prefix()).and_then(|rest| rest.strip_prefix(':')) else {
                continue;
            };
            let (rest, digest) = match rest.split_once('@') {
                Some((rest, digest)) => {
                    let digest =
                        digest.parse().map_err(|_| invalid(&format!("`{digest}` is not a digest")))?;
                    (rest, Some(digest))
                }
                None => (rest, None),
            };
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag)),
                None => (rest, None),
            };
            if path.is_empty() {
                return Err(invalid("it has no path"));
            }
            if tag.is_some_and(str::is_empty) {
                return Err(invalid("its tag is empty"));
            }
            if tag.is_some_and(|tag| tag.contains(|c: char| c.is_whitespace() || c.is_control())) {
                return Err(invalid("its tag has a blank or a control character"));
            }
            let (path, tag) = (PathBuf::from(path), tag.map(str::to_owned));
            return Ok(Self::Local(LocalImage { kind, path, tag, digest }));
        }
        if let Some(reference) = text.strip_prefix("docker://") {
            return Err(invalid(&format!("registries take no prefix here: write `{reference}`")));
        }
        if let Some(reference) = text.strip_prefix("store:") {
            return reference.parse().map(Self::Store);
        }
        if text.starts_with(['/', '.', '~']) {
            return Err(invalid(
                "it is a path; say what it is: oci:DIR, oci-archive:FILE or docker-archive:FILE",
            ));
        }
        text.parse().map(Self::Registry)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Local(image) => write!(f, "{image}"),
            Self::Store(reference) => write!(f, "store:{reference}"),
        }
    }
}

impl fmt::Display for LocalImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.prefix(), self.path.display())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Location>().map_or_else(|error| error.to_string(), |location| location.to_string())
    }

    #[test]
    fn every_kind_is_told_by_its_prefix() {
        let digest = format!("sha256:{}", "b".repeat(64));
        for text in ["oci:d", "oci:d/e:1", "oci-archive:f.tar:h/x:1", "docker-archive:f.tar:x:1", "h.io/x:1"]
        {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown(&format!("oci:d@{digest}")), format!("oci:d@{digest}"));
        assert_eq!(shown("oci/x"), "docker.io/oci/x:latest");
        assert_eq!(shown("store:h.io/x:1"), "store:h.io/x:1");
        assert_eq!(shown("store:x"), "store:docker.io/library/x:latest");
        assert_eq!(shown(&format!("store:h.io/x@{digest}")), format!("store:h.io/x@{digest}"));
    }

    #[test]
    fn faults_are_named() {
        assert!(shown("oci:").contains("no path"));
        assert!(shown("oci:d:").contains("tag is empty"));
        assert!(shown("oci:d:a b").contains("blank"));
        assert!(shown("oci:d@sha256:1").contains("not a digest"));
        assert!(shown("docker://h.io/x").contains("write `h.io/x`"));
        assert!(shown("h.io/X").contains("capitals"));
        assert!(shown("store:h.io/X").contains("capitals") && shown("store:").contains("empty"));
        assert!(shown("./x").contains("oci:DIR") && shown("/tmp/x").contains("oci:DIR"));
    }
}
