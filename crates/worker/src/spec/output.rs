//! `--output type=…,…`: where a result goes and what becomes of it there.

use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use lazyblob_cache::layer::{Compression, Family};
use lazyblob_remote::Reference;

use super::attrs::Attrs;
use crate::error::{Error, Result};
use crate::export::{Annotation, ImageOptions, Place};
use crate::llb::pb::Platform;

/// A file, or this program's standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dest {
    /// `dest=-`, or nothing said.
    Stdout,
    /// `dest=FILE`.
    Path(PathBuf),
}

/// What is made of a result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OutputKind {
    /// `type=image`: a name in the cache, and in registries with `push=true`.
    Image {
        /// How the image is made.
        options: ImageOptions,
        /// Its names.
        names: Vec<Reference>,
        /// It is pushed to where its names lead.
        push: bool,
        /// It is pushed without a tag.
        push_by_digest: bool,
        /// It gets its names in the cache; what is lazy stays lazy.
        store: bool,
        /// It is also called `NAME@DIGEST` in the cache.
        name_canonical: bool,
        /// Its layers are unpacked.
        unpack: bool,
    },
    /// `type=oci`: an OCI layout, in a tar file or, with `tar=false`, a directory.
    Oci {
        /// How the image is made.
        options: ImageOptions,
        /// Its names.
        names: Vec<Reference>,
        /// The file; the directory without `tar`.
        dest: Dest,
        /// Whether it is one file.
        tar: bool,
    },
    /// `type=docker`: a tar file that `docker load` reads.
    Docker {
        /// How the image is made.
        options: ImageOptions,
        /// Its names.
        names: Vec<Reference>,
        /// The file.
        dest: Dest,
    },
    /// `type=local`: the files, in a directory.
    Local {
        /// The directory.
        dest: PathBuf,
        /// Whether each platform has a directory of its own; where nothing is said, those of several have.
        platform_split: Option<bool>,
    },
    /// `type=tar`: the files, in a tar file.
    Tar {
        /// The file.
        dest: Dest,
        /// As with [`OutputKind::Local`].
        platform_split: Option<bool>,
        /// No time is later than that, in seconds since 1970.
        epoch: Option<u64>,
    },
}

/// One `--output`.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// What is made.
    pub kind: OutputKind,
    /// The image's config, as JSON, for a platform or for all (`containerimage.config`).
    pub configs: Vec<(Option<Platform>, Bytes)>,
    /// A file that has it (`config`), for whoever can read it.
    pub config_file: Option<PathBuf>,
}

const IMAGE_KEYS: &str = "name, push, push-by-digest, name-canonical, store, unpack, oci-mediatypes, compression, \
     compression-level, force-compression, prefer-nondist-layers, source-date-epoch, rewrite-timestamp, annotation.KEY, \
     annotation-index.KEY, annotation-manifest-descriptor.KEY, config, containerimage.config";
const ARCHIVE_KEYS: &str = "name, dest, tar, oci-mediatypes, compression, compression-level, force-compression, \
     prefer-nondist-layers, source-date-epoch, rewrite-timestamp, annotation.KEY, annotation-index.KEY, \
     annotation-manifest-descriptor.KEY, config, containerimage.config";
const FILE_KEYS: &str = "dest, platform-split, source-date-epoch";

impl FromStr for OutputSpec {
    type Err = Error;

    /// Reads a spec as buildctl takes it.
    fn from_str(text: &str) -> Result<Self> {
        let mut attrs = Attrs::read("output", text)?;
        refuse_by_name(&mut attrs)?;
        let kind = attrs.take("type").ok_or_else(|| attrs.invalid("it has no `type`"))?;
        let mut spec = Self { kind: files(&mut attrs, &kind)?, configs: Vec::new(), config_file: None };
        let known = match spec.kind {
            OutputKind::Local { .. } | OutputKind::Tar { .. } => FILE_KEYS,
            OutputKind::Image { .. } => IMAGE_KEYS,
            _ => ARCHIVE_KEYS,
        };
        if !matches!(spec.kind, OutputKind::Local { .. } | OutputKind::Tar { .. }) {
            spec.configs = configs(&mut attrs)?;
            spec.config_file = attrs.take("config").map(PathBuf::from);
        }
        attrs.finish(known)?;
        Ok(spec)
    }
}

fn files(attrs: &mut Attrs<'_>, kind: &str) -> Result<OutputKind> {
    Ok(match kind {
        "image" | "registry" => image(attrs, kind == "registry")?,
        "oci" => {
            let (options, names, tar) =
                (options(attrs)?, names(attrs)?, attrs.switch("tar")?.unwrap_or(true));
            let dest = dest(attrs);
            if !tar && dest == Dest::Stdout {
                return Err(attrs.invalid("tar=false makes a directory: say which with `dest`"));
            }
            OutputKind::Oci { options, names, dest, tar }
        }
        "docker" => {
            let (options, names) = (options(attrs)?, names(attrs)?);
            if attrs.switch("tar")? == Some(false) {
                return Err(
                    attrs.invalid("what `docker load` reads is one file: use type=oci for a directory")
                );
            }
            OutputKind::Docker { options, names, dest: dest(attrs) }
        }
        "local" => {
            let platform_split = attrs.switch("platform-split")?;
            let Dest::Path(dest) = dest(attrs) else {
                return Err(attrs.invalid("it needs a directory: say which with `dest`"));
            };
            // Files of a directory keep the times that the build gave them.
            attrs.take("source-date-epoch");
            OutputKind::Local { dest, platform_split }
        }
        "tar" => OutputKind::Tar {
            platform_split: attrs.switch("platform-split")?,
            epoch: attrs.number("source-date-epoch")?,
            dest: dest(attrs),
        },
        other => {
            let reason = format!("there is no type `{other}`: it is image, oci, docker, local or tar");
            return Err(attrs.invalid(reason));
        }
    })
}

fn image(attrs: &mut Attrs<'_>, pushes: bool) -> Result<OutputKind> {
    let (options, (names, tagged)) = (options(attrs)?, tagged_names(attrs)?);
    let push = attrs.switch("push")?.unwrap_or(pushes);
    let push_by_digest = attrs.switch("push-by-digest")?.unwrap_or_default();
    // An image may be incomplete here whatever is said.
    attrs.switch("unsafe-internal-store-allow-incomplete")?;
    if push && names.is_empty() {
        return Err(attrs.invalid("push=true needs a `name` to push to"));
    }
    if let Some(tagged) = tagged.filter(|_| push_by_digest) {
        return Err(
            attrs.invalid(format!("push-by-digest=true pushes without a tag, and `{tagged}` has one"))
        );
    }
    Ok(OutputKind::Image {
        options,
        names,
        push,
        push_by_digest,
        store: attrs.switch("store")?.unwrap_or(true),
        name_canonical: attrs.switch("name-canonical")?.unwrap_or_default(),
        unpack: attrs.switch("unpack")?.unwrap_or_default(),
    })
}

fn options(attrs: &mut Attrs<'_>) -> Result<ImageOptions> {
    let family = attrs.switch("oci-mediatypes")?.map(|oci| if oci { Family::Oci } else { Family::Docker });
    let options = ImageOptions {
        family,
        compression: compression(attrs)?,
        force_compression: attrs.switch("force-compression")?.unwrap_or_default(),
        prefer_nondist_layers: attrs.switch("prefer-nondist-layers")?.unwrap_or_default(),
        epoch: attrs.number("source-date-epoch")?,
        rewrite_timestamp: attrs.switch("rewrite-timestamp")?.unwrap_or_default(),
        annotations: annotations(attrs)?,
    };
    if options.rewrite_timestamp && options.epoch.is_none() {
        return Err(attrs.invalid("rewrite-timestamp=true needs a time: say source-date-epoch=SECONDS"));
    }
    if family == Some(Family::Docker) && !options.annotations.is_empty() {
        return Err(attrs.invalid("Docker's manifests have no annotations: leave out oci-mediatypes=false"));
    }
    Ok(options)
}

fn compression(attrs: &mut Attrs<'_>) -> Result<Compression> {
    let name = attrs.take("compression");
    let level = attrs.number("compression-level")?.map(|level| u32::try_from(level).unwrap_or(u32::MAX));
    let (compression, levels) = match name.as_deref() {
        Some("uncompressed" | "none") => (Compression::None, 0..=22),
        None | Some("" | "gzip") => {
            (level.map_or(Compression::GZIP, |level| Compression::Gzip { level }), 0..=9)
        }
        Some("zstd") => (level.map_or(Compression::ZSTD, |level| Compression::Zstd { level }), 1..=22),
        Some("estargz") => return Err(attrs.invalid("estargz is not supported: use gzip or zstd")),
        Some(other) => {
            let reason = format!("there is no compression `{other}`: it is uncompressed, gzip or zstd");
            return Err(attrs.invalid(reason));
        }
    };
    match level.filter(|level| !levels.contains(level)) {
        None => Ok(compression),
        Some(level) => {
            let (first, last) = levels.into_inner();
            Err(attrs.invalid(format!("there is no compression-level {level}: they are {first} to {last}")))
        }
    }
}

/// `annotation.KEY`, `annotation[PLATFORM].KEY`, and the same of `annotation-index`, `annotation-manifest` and
/// `annotation-manifest-descriptor`.
fn annotations(attrs: &mut Attrs<'_>) -> Result<Vec<Annotation>> {
    let mut found = Vec::new();
    while let Some((rest, value)) = attrs.take_prefixed("annotation") {
        let (head, key) = rest.split_once('.').unwrap_or((&rest, ""));
        let (place, platform) = match head.split_once('[') {
            Some((place, platform)) => {
                (place, platform.strip_suffix(']').unwrap_or_default().parse().map(Some))
            }
            None => (head, Ok(None)),
        };
        let Ok(platform) = platform else {
            return Err(attrs.invalid(format!("annotation{rest}: what is in brackets is not a platform")));
        };
        let place = match place {
            "" | "-manifest" => Place::Manifest,
            "-index" => Place::Index,
            "-manifest-descriptor" => Place::ManifestDescriptor,
            "-index-descriptor" => {
                return Err(attrs.invalid("annotations of an index's descriptor are not supported"));
            }
            other => return Err(attrs.invalid(format!("there are no annotations `annotation{other}`"))),
        };
        if key.is_empty() {
            return Err(attrs.invalid(format!("annotation{rest}: it has no key")));
        }
        found.push(Annotation { place, platform, key: key.to_owned(), value });
    }
    Ok(found)
}

fn names(attrs: &mut Attrs<'_>) -> Result<Vec<Reference>> {
    tagged_names(attrs).map(|(names, _)| names)
}

/// The names, and the first of them that was written with a tag.
fn tagged_names(attrs: &mut Attrs<'_>) -> Result<(Vec<Reference>, Option<String>)> {
    let mut tagged = None;
    let mut names: Vec<Reference> = Vec::new();
    let text = attrs.take("name").unwrap_or_default();
    for written in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let name: Reference =
            written.parse().map_err(|error: lazyblob_remote::Error| attrs.invalid(error.to_string()))?;
        if name.digest().is_some() {
            return Err(attrs.invalid(format!("`{name}`: what is made gets its digest from what it is")));
        }
        // Read, every name has one.
        if written.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            tagged.get_or_insert_with(|| written.to_owned());
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok((names, tagged))
}

fn configs(attrs: &mut Attrs<'_>) -> Result<Vec<(Option<Platform>, Bytes)>> {
    let mut found = Vec::new();
    while let Some((rest, value)) = attrs.take_prefixed("containerimage.config") {
        let platform = match rest.strip_prefix('/') {
            None if rest.is_empty() => Ok(None),
            Some(platform) => platform.parse().map(Some),
            None => return Err(attrs.invalid(format!("there is no `containerimage.config{rest}` here"))),
        };
        let Ok(platform) = platform else {
            return Err(attrs.invalid(format!("containerimage.config{rest}: that is not a platform")));
        };
        found.push((platform, Bytes::from(value)));
    }
    Ok(found)
}

fn dest(attrs: &mut Attrs<'_>) -> Dest {
    match attrs.take("dest").filter(|dest| dest != "-" && !dest.is_empty()) {
        Some(path) => Dest::Path(path.into()),
        None => Dest::Stdout,
    }
}

/// What other builders know and this one does not do.
fn refuse_by_name(attrs: &mut Attrs<'_>) -> Result<()> {
    if attrs.take_prefixed("attest").is_some() {
        return Err(attrs.invalid("attestations are not supported"));
    }
    if attrs.take("registry.insecure").is_some() {
        let reason = "registry.insecure is said of the host, for all that goes there: --plain-http HOST or \
             --insecure-skip-verify HOST";
        return Err(attrs.invalid(reason));
    }
    if attrs.take("dangling-name-prefix").is_some() {
        return Err(attrs.invalid("images without a name are not supported: say `name`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OutputSpec, String> {
        text.parse::<OutputSpec>().map_err(|error| error.to_string())
    }

    #[test]
    fn a_spec_says_all_of_an_image() {
        let spec = read(
            "type=image,\"name=h.test/a:1,h.test/b\",push=true,compression=zstd,compression-level=9,\
             force-compression=true,oci-mediatypes=true,prefer-nondist-layers=true,source-date-epoch=5,\
             rewrite-timestamp=true,annotation.K=v,annotation-index[linux/arm64].i=w,store=false,name-canonical=,\
             config=f.json,\"containerimage.config/linux/arm64={\"\"os\"\":\"\"linux\"\"}\"",
        )
        .unwrap();
        let OutputKind::Image { options, names, push, push_by_digest, store, name_canonical, unpack } =
            spec.kind
        else {
            panic!("an image");
        };
        assert_eq!(
            names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["h.test/a:1", "h.test/b:latest"]
        );
        assert!(push && !push_by_digest && !store && name_canonical && !unpack);
        assert_eq!(options.compression, Compression::Zstd { level: 9 });
        assert_eq!(options.family, Some(Family::Oci));
        assert!(options.force_compression && options.prefer_nondist_layers && options.rewrite_timestamp);
        assert_eq!(options.epoch, Some(5));
        let arm: Platform = "linux/arm64".parse().unwrap();
        let annotation = |place, platform: Option<&Platform>, key: &str, value: &str| Annotation {
            place,
            platform: platform.cloned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let expected =
            [annotation(Place::Manifest, None, "K", "v"), annotation(Place::Index, Some(&arm), "i", "w")];
        assert_eq!(options.annotations, expected);
        assert_eq!(spec.configs, [(Some(arm), Bytes::from_static(b"{\"os\":\"linux\"}"))]);
        assert_eq!(spec.config_file, Some("f.json".into()));
    }

    #[test]
    fn files_and_directories_have_their_destinations() {
        let tar = read("type=tar,dest=-").unwrap().kind;
        assert_eq!(tar, OutputKind::Tar { dest: Dest::Stdout, platform_split: None, epoch: None });
        let local = read("type=local,dest=out,platform-split=false").unwrap().kind;
        assert_eq!(local, OutputKind::Local { dest: "out".into(), platform_split: Some(false) });
        let oci = read("type=oci,dest=d,tar=false").unwrap().kind;
        assert!(matches!(oci, OutputKind::Oci { dest: Dest::Path(_), tar: false, .. }));
        assert!(matches!(read("type=docker").unwrap().kind, OutputKind::Docker { dest: Dest::Stdout, .. }));
        let registry = read("type=registry,name=h.test/a").unwrap().kind;
        assert!(matches!(registry, OutputKind::Image { push: true, .. }));
    }

    #[test]
    fn faults_are_named() {
        for (text, reason) in [
            ("name=a", "has no `type`"),
            ("type=iso", "image, oci, docker, local or tar"),
            ("type=image,tag=x", "no `tag` here: name, push"),
            ("type=image,push=true", "needs a `name`"),
            ("type=image,push=yes", "neither true nor false"),
            ("type=image,name=h.test/a:1,push=true,push-by-digest=true", "`h.test/a:1` has one"),
            ("type=image,name=h.test/A", "capitals"),
            ("type=image,compression=lz4", "uncompressed, gzip or zstd"),
            ("type=image,compression=estargz", "estargz is not supported"),
            ("type=image,compression-level=10", "they are 0 to 9"),
            ("type=image,compression=zstd,compression-level=0", "they are 1 to 22"),
            ("type=image,rewrite-timestamp=true", "source-date-epoch"),
            ("type=image,source-date-epoch=-1", "not a number"),
            ("type=image,oci-mediatypes=false,annotation.a=b", "no annotations"),
            ("type=image,annotation-layer.a=b", "annotation-layer"),
            ("type=image,annotation[x/].a=b", "not a platform"),
            ("type=image,annotation.=b", "no key"),
            ("type=image,attest:sbom=x", "attestations are not supported"),
            ("type=image,registry.insecure=true", "--plain-http HOST"),
            ("type=oci,tar=false", "`dest`"),
            ("type=docker,tar=false", "one file"),
            ("type=local", "needs a directory"),
            ("type=local,dest=d,name=x", "no `name` here"),
            ("type=tar,config=x", "no `config` here"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
}
