//! Choosing platforms of an index. What is left out makes another index with another digest, and nothing pretends
//! otherwise: one platform is its own manifest, several are an index of those entries, each to the byte.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use oci_spec::image::Descriptor;
use serde::Deserialize;
use serde_json::Value;

use crate::endpoint::{Name, Source};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::media;
use crate::transfer::Blob;

/// A config longer than this is not read for its platform.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;

/// `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// A platform in its normal form: `aarch64` is `arm64`, whose variant `v8` goes without saying.
    fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, implied) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), None),
            "aarch64" => ("arm64".to_owned(), None),
            "armhf" => ("arm".to_owned(), Some("v7")),
            "armel" => ("arm".to_owned(), Some("v6")),
            "i386" => ("386".to_owned(), None),
            other => (other.to_owned(), None),
        };
        let variant = variant.filter(|variant| !variant.is_empty()).or(implied);
        let variant = variant.filter(|variant| {
            !matches!((architecture.as_str(), *variant), ("arm64", "v8" | "8") | ("amd64", "v1"))
        });
        Self { os: os.to_ascii_lowercase(), architecture, variant: variant.map(str::to_owned) }
    }

    /// Whether an image for `offered` is what was asked for; a variant that was not named may be any.
    fn accepts(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.variant == offered.variant)
    }

    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Self {
        Self::normal(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// The first entry of `index` that is for this platform.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, naming those there are.
    pub fn find<'a>(&self, index: &'a Manifest) -> Result<&'a Descriptor> {
        let offers = |entry: &&Descriptor| Self::of(entry).is_some_and(|offered| self.accepts(&offered));
        index.entries().iter().find(offers).ok_or_else(|| missing(index, self))
    }

    fn of(entry: &Descriptor) -> Option<Self> {
        let platform = entry.platform().as_ref()?;
        let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
        Some(Self::normal(&os, &architecture, platform.variant().as_deref()))
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] if !os.is_empty() && !architecture.is_empty() => {
                Ok(Self::normal(os, architecture, None))
            }
            [os, architecture, variant] if parts.iter().all(|part| !part.is_empty()) => {
                Ok(Self::normal(os, architecture, Some(variant)))
            }
            _ => Err(format!("`{text}` is not OS/ARCHITECTURE[/VARIANT], as in linux/amd64 or linux/arm/v7")),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// `root` reduced to `platforms`.
///
/// # Errors
/// [`Error::NotFound`] for a platform the image does not have, naming those it has.
pub(super) async fn choose(
    source: &dyn Source,
    root: Manifest,
    platforms: &[Platform],
    read: impl Fn(Descriptor) -> Blob,
) -> Result<Manifest> {
    if platforms.is_empty() {
        return Ok(root);
    }
    if !root.is_index() {
        return single(root, platforms, read).await;
    }
    let platforms = distinct(platforms);
    let mut chosen: Vec<&Descriptor> = Vec::new();
    for platform in &platforms {
        let entry = platform.find(&root)?;
        if !chosen.contains(&entry) {
            chosen.push(entry);
        }
    }
    match chosen[..] {
        [one] if platforms.len() == 1 => {
            let child = source.manifest(&Name::Digest(one.digest().clone())).await?;
            // An index within an index is searched in its turn.
            if child.is_index() { Box::pin(choose(source, child, &platforms, read)).await } else { Ok(child) }
        }
        _ => filtered(&root, &chosen),
    }
}

/// The platforms without those named twice: one platform is one image, however often it is asked for.
fn distinct(platforms: &[Platform]) -> Vec<Platform> {
    let mut distinct: Vec<Platform> = Vec::new();
    for platform in platforms {
        if !distinct.contains(platform) {
            distinct.push(platform.clone());
        }
    }
    distinct
}

/// An image that is no index: its config says what it is for.
async fn single(
    root: Manifest,
    platforms: &[Platform],
    read: impl Fn(Descriptor) -> Blob,
) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Config {
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
    }
    let invalid = |reason: String| Error::invalid("choose platform of", root.digest(), reason);
    let config = root.config().ok_or_else(|| invalid("it has no config".to_owned()))?;
    let bytes = read(config.clone()).read_whole(MAX_CONFIG).await?;
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(format!("its config is not an image's: {error}")))?;
    let (Some(os), Some(architecture)) = (config.os, config.architecture) else {
        return Err(invalid("its config names no platform".to_owned()));
    };
    let offered = Platform::normal(&os, &architecture, config.variant.as_deref());
    match platforms.iter().find(|platform| !platform.accepts(&offered)) {
        Some(platform) => {
            let reason = format!("the image is for {offered}, not for {platform}");
            Err(Error::not_found("choose platform of", root.digest(), reason))
        }
        None => Ok(root),
    }
}

/// The index with the chosen entries and the attestations that belong to them, in its own order.
fn filtered(root: &Manifest, chosen: &[&Descriptor]) -> Result<Manifest> {
    let invalid = |reason: String| Error::invalid("choose platforms of", root.digest(), reason);
    let mut index: Value =
        serde_json::from_slice(root.bytes()).map_err(|error| invalid(error.to_string()))?;
    let keep = |entry: &Value| {
        let is = |digest: &Value| chosen.iter().any(|entry| digest.as_str() == Some(entry.digest().as_ref()));
        is(&entry["digest"]) || is(&entry["annotations"]["vnd.docker.reference.digest"])
    };
    if let Some(entries) = index.get_mut("manifests").and_then(Value::as_array_mut) {
        entries.retain(keep);
        if entries.len() == root.entries().len() {
            return Ok(root.clone());
        }
    }
    let kind = if root.media_type() == media::DOCKER_LIST { media::DOCKER_LIST } else { media::OCI_INDEX };
    Manifest::parse(Bytes::from(index.to_string()), Some(kind), None, &format!("{} reduced", root.digest()))
}

fn missing(root: &Manifest, platform: &Platform) -> Error {
    let mut known: Vec<String> =
        root.entries().iter().filter_map(Platform::of).map(|offered| offered.to_string()).collect();
    // Attestations are no platform.
    known.retain(|platform| platform != "unknown/unknown");
    known.dedup();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::not_found(
        "choose platform of",
        root.digest(),
        format!("there is no {platform}; there are: {known}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/armhf", "linux/arm/v7"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
        for text in ["linux", "linux/", "/amd64", "a/b/c/d", "a//c", ""] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_variant_not_asked_for_may_be_any_and_no_other_one_will_do() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm").accepts(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm/v7").accepts(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm/v7").accepts(&platform("linux/arm")));
        assert!(!platform("linux/arm64").accepts(&platform("linux/arm/v8")));
    }
}
