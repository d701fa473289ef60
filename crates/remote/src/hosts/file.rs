//! Finding and reading a host's directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use url::Url;

use super::toml::{self, HostsFile};
use crate::error::{Error, Result};
use crate::reference::DOCKER_HUB_API;
use crate::transport::address::is_loopback;

const OPERATION: &str = "read hosts configuration";

/// What the first directory that is for `host` says; nothing where there is none.
///
/// # Errors
/// [`Error::Invalid`] for a malformed file, [`Error::Io`] for one that cannot be read.
pub(super) fn read(directories: &[PathBuf], host: &str) -> Result<Option<HostsFile>> {
    for directory in directories {
        for name in names(host) {
            let candidate = directory.join(name);
            match std::fs::metadata(&candidate) {
                Ok(found) if found.is_dir() => return read_directory(&candidate, host).map(Some),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(OPERATION, host, candidate, error)),
            }
        }
    }
    Ok(None)
}

/// The names a host's directory may have, in the order they are looked for.
fn names(host: &str) -> Vec<String> {
    let mut names = Vec::with_capacity(3);
    if let (name, Some(port)) = split_port(host) {
        names.push(format!("{name}_{port}_"));
    }
    names.push(host.to_owned());
    names.push("_default".to_owned());
    names
}

fn read_directory(directory: &Path, host: &str) -> Result<HostsFile> {
    let path = directory.join("hosts.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::parse(&path, &text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(HostsFile::default()),
        Err(error) => Err(Error::io(OPERATION, host, path, error)),
    }
}

/// `HOST` and `PORT` of `HOST[:PORT]`; a colon within an IPv6 address's brackets begins no port.
pub(super) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// The API's base address for a URL of the file: `/v2` is added where the path does not end with it, unless
/// `override_path`. Without a scheme it is TLS, or plain HTTP on loopback.
///
/// # Errors
/// What is wrong with the URL, in words, without the URL itself: it may hold a password.
pub(super) fn endpoint(text: &str, override_path: bool) -> Result<Url, &'static str> {
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        let authority = text.split('/').next().unwrap_or_default();
        let scheme = if is_loopback(split_port(authority).0) { "http" } else { "https" };
        format!("{scheme}://{text}")
    };
    let mut url = Url::parse(&text).map_err(|_| "it is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it takes no user name and no password; credentials come from the keychain");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it takes no query and no fragment");
    }
    // Docker Hub's name is not where its API is.
    if matches!(url.host_str(), Some("docker.io" | "index.docker.io")) {
        url.set_host(Some(DOCKER_HUB_API)).map_err(|_| "it is not a URL")?;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if override_path || path.ends_with("/v2") { path } else { format!("{path}/v2") };
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_as_containerd_names_them() {
        assert_eq!(names("h.io:5000"), ["h.io_5000_", "h.io:5000", "_default"]);
        assert_eq!(names("h.io"), ["h.io", "_default"]);
        assert_eq!(names("[::1]:5000"), ["[::1]_5000_", "[::1]:5000", "_default"]);
        assert_eq!(names("[::1]"), ["[::1]", "_default"]);
    }

    #[test]
    fn endpoints_end_where_the_api_begins() {
        for (text, override_path, base) in [
            ("https://m.example", false, "https://m.example/v2"),
            ("https://m.example/", false, "https://m.example/v2"),
            ("https://m.example/us", false, "https://m.example/us/v2"),
            ("https://m.example/us/v2/", false, "https://m.example/us/v2"),
            ("https://m.example/v2/up", true, "https://m.example/v2/up"),
            ("m.example:5000", false, "https://m.example:5000/v2"),
            ("localhost:5000", false, "http://localhost:5000/v2"),
            ("https://docker.io", false, "https://registry-1.docker.io/v2"),
        ] {
            assert_eq!(endpoint(text, override_path).unwrap().as_str(), base);
        }
        for text in
            ["", "ftp://x", "https://", "https://u@x", "https://x?q", "https://x#f", "https://x:99999"]
        {
            assert!(endpoint(text, false).is_err(), "{text}");
        }
    }
}
