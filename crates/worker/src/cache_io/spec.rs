//! `--import-cache` and `--export-cache`, in buildctl's syntax.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use lazyblob_cache::layer::Compression;
use lazyblob_remote::buildcache::{Form, Names};
use lazyblob_remote::{Digest, Reference};
use lazyblob_solver::ExportMode;

use crate::spec::{csv, yes_or_no};

/// The tag a cache has in a layout where nothing else is said.
const LATEST: &str = "latest";

/// A cache that is to be looked in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportSpec {
    /// A cache, or an image with its own, in a registry.
    Registry {
        /// Its name.
        reference: Reference,
    },
    /// The same in an OCI layout.
    Local {
        /// The directory.
        src: PathBuf,
        /// What it is called there, if no digest is given.
        tag: String,
        /// The digest of its manifest.
        digest: Option<Digest>,
    },
}

/// Where a cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportTarget {
    /// To a registry.
    Registry {
        /// Its name there.
        reference: Reference,
    },
    /// Into an OCI layout.
    Local {
        /// The directory.
        dest: PathBuf,
        /// What it is called there.
        tag: String,
        /// Whether blobs that nothing in the layout names are removed afterwards.
        reset: bool,
    },
    /// Into the config of each image that is exported.
    Inline,
}

/// A cache that is to be given away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSpec {
    /// Where it goes.
    pub target: ExportTarget,
    /// Which results go into it; an image's own cache always has the fewest.
    pub mode: ExportMode,
    /// The form of its manifest.
    pub form: Form,
    /// Whose media types it has.
    pub names: Names,
    /// How layers are compressed that have no blob yet; what the engine does by itself where nothing is said.
    pub compression: Option<Compression>,
    /// Whether layers with another compression are made anew.
    pub force_compression: bool,
    /// Whether a failure is only a warning. It is for who calls [`export`](super::export) to say so.
    pub ignore_error: bool,
}

/// A cache that is not described as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCache(String);

/// What stands in `text`, with its type taken out.
struct Attributes {
    kind: String,
    given: BTreeMap<String, String>,
}

impl FromStr for ImportSpec {
    type Err = BadCache;

    fn from_str(text: &str) -> Result<Self, BadCache> {
        let mut attributes = Attributes::parse(text)?;
        let spec = match attributes.kind.as_str() {
            "registry" => {
                let reference = attributes.reference("ref")?;
                attributes.insecure()?;
                Self::Registry { reference }
            }
            "local" => {
                let digest = attributes.take("digest").map(|digest| digest.parse());
                let digest = digest.transpose().map_err(|_| attributes.bad("digest is no digest"))?;
                let tag = attributes.take("tag").unwrap_or_else(|| LATEST.to_owned());
                Self::Local { src: attributes.needed("src")?.into(), tag, digest }
            }
            "inline" => {
                return Err(BadCache("an image's own cache is imported with type=registry".to_owned()));
            }
            _ => return Err(attributes.unknown_type("registry, local")),
        };
        attributes.end()?;
        Ok(spec)
    }
}

impl FromStr for ExportSpec {
    type Err = BadCache;

    fn from_str(text: &str) -> Result<Self, BadCache> {
        let mut attributes = Attributes::parse(text)?;
        let target = match attributes.kind.as_str() {
            "registry" => {
                let reference = attributes.reference("ref")?;
                if reference.digest().is_some() {
                    return Err(attributes.bad("a cache is exported to a tag, not to a digest"));
                }
                attributes.insecure()?;
                ExportTarget::Registry { reference }
            }
            "local" => ExportTarget::Local {
                dest: attributes.needed("dest")?.into(),
                tag: attributes.take("tag").unwrap_or_else(|| LATEST.to_owned()),
                reset: attributes.flag("reset")?.unwrap_or(false),
            },
            "inline" => ExportTarget::Inline,
            _ => return Err(attributes.unknown_type("registry, local, inline")),
        };
        let mut spec = Self::new(target);
        spec.mode = match attributes.take("mode").as_deref() {
            None | Some("min") => ExportMode::Min,
            Some("max") if spec.target == ExportTarget::Inline => {
                return Err(attributes.bad("mode is min: the layers are the image's"));
            }
            Some("max") => ExportMode::Max,
            Some(other) => return Err(attributes.bad(&format!("mode is min or max, not `{other}`"))),
        };
        spec.ignore_error = attributes.flag("ignore-error")?.unwrap_or(false);
        if spec.target != ExportTarget::Inline {
            let oci = attributes.flag("oci-mediatypes")?.unwrap_or(true);
            let image = attributes.flag("image-manifest")?;
            if image == Some(true) && !oci {
                return Err(attributes.bad("image-manifest=true needs oci-mediatypes=true"));
            }
            spec.names = if oci { Names::Oci } else { Names::Docker };
            spec.form = if image.unwrap_or(oci) { Form::Manifest } else { Form::Index };
            spec.compression = attributes.compression()?;
            spec.force_compression = attributes.flag("force-compression")?.unwrap_or(false);
        }
        attributes.end()?;
        Ok(spec)
    }
}

impl ExportSpec {
    /// An export to `target` as it is where nothing else is said: the fewest results, an OCI image manifest.
    #[must_use]
    pub fn new(target: ExportTarget) -> Self {
        Self {
            target,
            mode: ExportMode::Min,
            form: Form::Manifest,
            names: Names::Oci,
            compression: None,
            force_compression: false,
            ignore_error: false,
        }
    }
}

impl Attributes {
    fn parse(text: &str) -> Result<Self, BadCache> {
        let fields = csv::fields(text).map_err(|reason| BadCache(format!("cache: {reason}")))?;
        let mut given = BTreeMap::new();
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                BadCache("cache: every part is KEY=VALUE, as in type=registry,ref=HOST/REPO:TAG".to_owned())
            })?;
            given.insert(key.trim().to_lowercase(), value.to_owned());
        }
        let kind = given.remove("type").filter(|kind| !kind.is_empty());
        let kind = kind.ok_or_else(|| BadCache("cache: it has no type (type=registry, say)".to_owned()))?;
        Ok(Self { kind, given })
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.given.remove(key).filter(|value| !value.is_empty())
    }

    fn needed(&mut self, key: &str) -> Result<String, BadCache> {
        self.take(key).ok_or_else(|| self.bad(&format!("{key} is missing")))
    }

    fn reference(&mut self, key: &str) -> Result<Reference, BadCache> {
        let text = self.needed(key)?;
        text.parse().map_err(|error: lazyblob_remote::Error| self.bad(&error.to_string()))
    }

    /// A yes or no, in Go's words.
    fn flag(&mut self, key: &str) -> Result<Option<bool>, BadCache> {
        let Some(word) = self.take(key) else { return Ok(None) };
        let said = yes_or_no(&word);
        said.map(Some).ok_or_else(|| self.bad(&format!("{key} is true or false, not `{word}`")))
    }

    /// How hosts are reached is said for all of them, not for one cache.
    fn insecure(&mut self) -> Result<(), BadCache> {
        match self.flag("registry.insecure")? {
            Some(true) => Err(self.bad("registry.insecure is not supported: say it of the host")),
            _ => Ok(()),
        }
    }

    fn compression(&mut self) -> Result<Option<Compression>, BadCache> {
        let level = self.take("compression-level").map(|level| level.parse::<u32>());
        let level = level.transpose().map_err(|_| self.bad("compression-level is no number"))?;
        let kind = self.take("compression");
        let compression = match (kind.as_deref(), level) {
            (None, None) => return Ok(None),
            (Some("uncompressed"), None) => Compression::None,
            (Some("gzip"), None) => Compression::GZIP,
            (None | Some("gzip"), Some(level @ 0..=9)) => Compression::Gzip { level },
            (Some("zstd"), None) => Compression::ZSTD,
            (Some("zstd"), Some(level @ 1..=22)) => Compression::Zstd { level },
            (None | Some("gzip" | "zstd" | "uncompressed"), Some(level)) => {
                return Err(self.bad(&format!("there is no compression-level {level}")));
            }
            (Some(other), _) => {
                let reason =
                    format!("compression `{other}` is not supported: there are gzip, zstd, uncompressed");
                return Err(self.bad(&reason));
            }
        };
        Ok(Some(compression))
    }

    fn unknown_type(&self, known: &str) -> BadCache {
        BadCache(format!("caches of type `{}` are not supported: there are {known}", self.kind))
    }

    /// Values are not shown: some are secrets.
    fn bad(&self, reason: &str) -> BadCache {
        BadCache(format!("cache of type {}: {reason}", self.kind))
    }

    fn end(self) -> Result<(), BadCache> {
        match self.given.keys().next() {
            Some(key) => Err(self.bad(&format!("it has no `{key}`"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(text: &str) -> Result<ExportSpec, String> {
        text.parse().map_err(|error: BadCache| error.to_string())
    }

    fn import(text: &str) -> Result<ImportSpec, String> {
        text.parse().map_err(|error: BadCache| error.to_string())
    }

    #[test]
    fn exports() {
        let spec = export("type=registry,ref=h.test/cache:1,mode=max,ignore-error=true").unwrap();
        let reference: Reference = "h.test/cache:1".parse().unwrap();
        assert_eq!(spec.target, ExportTarget::Registry { reference });
        assert_eq!((spec.mode, spec.form, spec.names), (ExportMode::Max, Form::Manifest, Names::Oci));
        assert!(spec.ignore_error && !spec.force_compression && spec.compression.is_none());

        let spec = export(
            r#"type=local,"dest=a,b",tag=x,reset=1,image-manifest=false,compression=zstd,force-compression=t"#,
        );
        let spec = spec.unwrap();
        let dest = PathBuf::from("a,b");
        assert_eq!(spec.target, ExportTarget::Local { dest, tag: "x".to_owned(), reset: true });
        assert_eq!((spec.form, spec.compression), (Form::Index, Some(Compression::ZSTD)));
        assert!(spec.force_compression);

        let spec = export("type=local,dest=d,oci-mediatypes=false,compression-level=9").unwrap();
        assert_eq!((spec.form, spec.names), (Form::Index, Names::Docker));
        assert_eq!(spec.compression, Some(Compression::Gzip { level: 9 }));
        assert_eq!(export("type=inline").unwrap().target, ExportTarget::Inline);
    }

    #[test]
    fn imports() {
        let reference: Reference = "h.test/cache:1".parse().unwrap();
        assert_eq!(import("type=registry,ref=h.test/cache:1"), Ok(ImportSpec::Registry { reference }));
        let local = |tag: &str| ImportSpec::Local { src: "d".into(), tag: tag.to_owned(), digest: None };
        assert_eq!(import("type=local,src=d"), Ok(local("latest")));
        assert_eq!(import("TYPE=local,src=d,tag=x"), Ok(local("x")));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (text, said) in [
            ("type=gha,scope=x,token=hush", "type `gha` are not supported"),
            ("type=s3,bucket=b", "type `s3` are not supported"),
            ("type=azblob,name=n", "type `azblob` are not supported"),
            ("type=registry,ref=h.test/a,modes=max", "it has no `modes`"),
            ("type=registry,ref=h.test/a,mode=all", "mode is min or max, not `all`"),
            ("type=registry", "ref is missing"),
            ("type=registry,ref=UPPER CASE", "type registry"),
            ("type=local,dest=d,reset=maybe", "reset is true or false"),
            ("type=local,dest=d,compression=estargz", "compression `estargz` is not supported"),
            ("type=local,dest=d,compression=zstd,compression-level=0", "no compression-level 0"),
            ("type=local,dest=d,oci-mediatypes=false,image-manifest=true", "needs oci-mediatypes=true"),
            ("type=inline,mode=max", "mode is min"),
            ("ref=h.test/a", "it has no type"),
            ("h.test/a", "every part is KEY=VALUE"),
            (r#"type=local,"dest=d"#, "a quote is not closed"),
        ] {
            let error = export(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
        assert!(import("type=local").unwrap_err().contains("src is missing"));
        assert!(import("type=inline").unwrap_err().contains("type=registry"));
        assert!(import("type=local,src=d,digest=x").unwrap_err().contains("digest is no digest"));
        assert!(import("type=registry,ref=h.test/a,mode=max").unwrap_err().contains("it has no `mode`"));
    }
}
