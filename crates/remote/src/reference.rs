//! References to images: `HOST/REPO[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Digest;

use crate::error::{Error, Result};

/// Docker Hub's name in references.
pub const DOCKER_HUB: &str = "docker.io";
/// The host of Docker Hub's API.
pub(crate) const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// A repository: a registry's `HOST[:PORT]` and a path in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName {
    host: String,
    path: String,
}

impl RepositoryName {
    /// A repository from its parts.
    ///
    /// # Errors
    /// [`Error::Invalid`] where host or path break the rules of distribution-spec.
    pub fn new(host: &str, path: &str) -> Result<Self> {
        let whole = format!("{host}/{path}");
        check_host(&whole, host)?;
        check_path(&whole, path)?;
        if whole.len() > 255 {
            return Err(malformed(&whole, "host and repository are longer than 255 characters"));
        }
        Ok(Self { host: host.to_owned(), path: path.to_owned() })
    }

    /// A registry itself, without a repository.
    pub(crate) fn of_registry(host: &str) -> Result<Self> {
        check_host(host, host)?;
        Ok(Self { host: host.to_owned(), path: String::new() })
    }

    /// `HOST[:PORT]`; `docker.io` for Docker Hub.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path within the registry, `library/` included on Docker Hub.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// This repository at `tag`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed tag.
    pub fn tagged(&self, tag: &str) -> Result<Reference> {
        check_tag(&format!("{self}:{tag}"), tag)?;
        Ok(Reference { repository: self.clone(), tag: Some(tag.to_owned()), digest: None })
    }

    /// This repository at `digest`.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest.clone()) }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for RepositoryName {
    type Err = Error;

    /// Parses `HOST/REPO` or a Docker Hub name; a tag or digest is an error.
    fn from_str(text: &str) -> Result<Self> {
        let reference = parse(text)?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(malformed(text, "a repository takes no tag and no digest"));
        }
        Ok(reference.repository)
    }
}

/// A repository with a tag, a digest or both. With both the digest decides what is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: RepositoryName,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag as written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What goes into a manifest's address: the digest, else the tag.
    #[must_use]
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository at another tag.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        self.repository.tagged(tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Parses a reference; without tag and digest the tag is `latest`.
    fn from_str(text: &str) -> Result<Self> {
        let mut reference = parse(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some("latest".to_owned());
        }
        Ok(reference)
    }
}

fn parse(text: &str) -> Result<Reference> {
    if text.is_empty() {
        return Err(malformed(text, "it is empty"));
    }
    if text.contains("://") {
        return Err(malformed(text, "it is a URL; write HOST/REPO[:TAG][@DIGEST]"));
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(parse_digest(text, digest)?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it belongs to a port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if names_a_host(host) => (host, path.to_owned()),
        Some(_) => (DOCKER_HUB, name.to_owned()),
        None => (DOCKER_HUB, format!("library/{name}")),
    };
    let host = if matches!(host, "index.docker.io" | DOCKER_HUB_API) { DOCKER_HUB } else { host };
    let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
    let repository = RepositoryName::new(host, &path).map_err(|error| match error {
        Error::Invalid { reason, .. } => malformed(text, &reason),
        other => other,
    })?;
    if let Some(tag) = tag {
        check_tag(text, tag)?;
    }
    Ok(Reference { repository, tag: tag.map(str::to_owned), digest })
}

/// Docker's rule: the first component is a host if it has a dot or a colon, is `localhost`, or has a capital.
fn names_a_host(component: &str) -> bool {
    component.contains(['.', ':', '['])
        || component == "localhost"
        || component.chars().any(|c| c.is_ascii_uppercase())
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest> {
    if digest.contains('@') {
        return Err(malformed(text, "it has two digests"));
    }
    digest.parse().map_err(|_| malformed(text, &format!("`{digest}` is not a digest")))
}

fn check_host(text: &str, host: &str) -> Result<()> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return Err(malformed(text, "the host's bracket is not closed"));
            };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(malformed(text, &format!("`{address}` is not an IPv6 address")));
            }
            match (port, port.strip_prefix(':')) {
                ("", _) => return Ok(()),
                (_, Some(port)) => ("v6", Some(port)),
                _ => return Err(malformed(text, &format!("host `{host}` is malformed"))),
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if !name.split('.').all(label) {
        return Err(malformed(text, &format!("host `{host}` is malformed")));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() || port.starts_with('+') => {
            Err(malformed(text, &format!("`{port}` is not a port")))
        }
        _ => Ok(()),
    }
}

/// distribution-spec "Pulling manifests": components of `[a-z0-9]+` joined by `.`, `_`, `__` or `-`s.
fn check_path(text: &str, path: &str) -> Result<()> {
    for component in path.split('/') {
        let fault = if component.is_empty() {
            "a path component is empty".to_owned()
        } else if component.chars().any(|c| c.is_ascii_uppercase()) {
            format!("`{component}` has capitals; repositories are lower case")
        } else if !is_component(component) {
            format!("`{component}` is not a path component")
        } else {
            continue;
        };
        return Err(malformed(text, &fault));
    }
    Ok(())
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = component;
    loop {
        let word = rest.trim_start_matches(alphanumeric);
        if word.len() == rest.len() {
            return false;
        }
        if word.is_empty() {
            return true;
        }
        let tail = word.trim_start_matches(|c: char| !alphanumeric(c));
        let separator = &word[..word.len() - tail.len()];
        if !matches!(separator, "." | "_" | "__") && !separator.chars().all(|c| c == '-') {
            return false;
        }
        rest = tail;
    }
}

/// Whether `text` is a tag (distribution-spec "Pulling manifests").
pub(crate) fn is_tag(text: &str) -> bool {
    let legal =
        |(at, c): (usize, char)| c.is_ascii_alphanumeric() || c == '_' || (at > 0 && matches!(c, '.' | '-'));
    !text.is_empty() && text.len() <= 128 && text.char_indices().all(legal)
}

fn check_tag(text: &str, tag: &str) -> Result<()> {
    if !is_tag(tag) {
        return Err(malformed(text, &format!("`{tag}` is not a tag (1 to 128 of A-Z a-z 0-9 _ . -)")));
    }
    Ok(())
}

fn malformed(text: &str, reason: &str) -> Error {
    Error::invalid("parse reference", format_args!("`{text}`"), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Reference>().map_or_else(|error| error.to_string(), |reference| reference.to_string())
    }

    #[test]
    fn short_names_are_docker_hub_s() {
        assert_eq!(parsed("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(parsed("a/b:1"), "docker.io/a/b:1");
        assert_eq!(parsed("index.docker.io/alpine"), "docker.io/library/alpine:latest");
        assert_eq!(parsed("localhost/x"), "localhost/x:latest");
    }

    #[test]
    fn ports_tags_and_digests_are_told_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(parsed("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(parsed("[::1]:5000/x:v1"), "[::1]:5000/x:v1");
        assert_eq!(parsed(&format!("h.io/x:v1@{digest}")), format!("h.io/x:v1@{digest}"));
        assert_eq!(parsed(&format!("h.io/x@{digest}")), format!("h.io/x@{digest}"));
        let both: Reference = format!("h.io/x:v1@{digest}").parse().unwrap();
        assert_eq!(both.identifier(), digest);
    }

    /// Row 92b: no path component is `..` or empty.
    #[test]
    fn malformed_references_are_named() {
        for (text, reason) in [
            ("", "empty"),
            ("https://h.io/x", "URL"),
            ("h.io/X", "capitals"),
            ("h.io//x", "empty"),
            ("h.io/x:", "not a tag"),
            ("h.io/x:a b", "not a tag"),
            ("h.io/x:-a", "not a tag"),
            ("h.io/a..b", "not a path component"),
            ("h.io/a_-b", "not a path component"),
            ("h.io/../x", "not a path component"),
            ("h.io/x@sha256:12", "not a digest"),
            ("h.io/x@sha256", "not a digest"),
            ("h.io:99999/x", "not a port"),
            ("[::1/x", "bracket"),
            ("-h.io/x", "malformed"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
        assert!(parsed(&format!("h.io/{}", "a".repeat(260))).contains("255"));
        assert!(parsed(&format!("h.io/a:{}", "t".repeat(129))).contains("not a tag"));
    }

    #[test]
    fn a_repository_takes_no_tag() {
        assert!("h.io/x:1".parse::<RepositoryName>().is_err());
        assert_eq!("h.io/a__b/c--d".parse::<RepositoryName>().unwrap().path(), "a__b/c--d");
    }
}
