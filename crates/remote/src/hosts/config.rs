//! The configuration of all hosts, resolved one host at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dashmap::DashMap;
use url::Url;

use super::file::{self, endpoint};
use super::toml::{HostsFile, Section};
use super::{Address, Host, Mirror};
use crate::error::{Error, Result};
use crate::reference::DOCKER_HUB_API;
use crate::transport::Tls;

/// How every host is reached. Files are read when a host is first asked for, and once.
#[derive(Debug, Default)]
pub struct Hosts {
    settings: Builder,
    resolved: DashMap<String, Arc<Host>>,
}

/// Collects what is said about hosts; see [`Hosts::builder`]. A host is `HOST[:PORT]` as in references and is matched in
/// full, mirrors included.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    plain_http: BTreeSet<String>,
    tls: BTreeSet<String>,
    insecure: BTreeSet<String>,
    meters_gets: BTreeSet<String>,
    ca: Vec<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    directories: Vec<PathBuf>,
    no_upstream: bool,
}

impl Builder {
    /// Reaches `host` by plain HTTP.
    #[must_use]
    pub fn plain_http(mut self, host: impl Into<String>) -> Self {
        self.plain_http.insert(host.into());
        self
    }

    /// Reaches `host` by TLS although it is on loopback.
    #[must_use]
    pub fn tls(mut self, host: impl Into<String>) -> Self {
        self.tls.insert(host.into());
        self
    }

    /// Accepts any certificate of `host`, and so reaches it by TLS.
    #[must_use]
    pub fn insecure_skip_verify(mut self, host: impl Into<String>) -> Self {
        self.insecure.insert(host.into());
        self
    }

    /// Trusts the certification authorities in the PEM file `ca` beside the system's, for every host.
    #[must_use]
    pub fn ca(mut self, ca: impl Into<PathBuf>) -> Self {
        self.ca.push(ca.into());
        self
    }

    /// Shows the certificate chain in the PEM file `chain`, with its key in `key`, to registries and mirrors that ask
    /// for one.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client = Some((chain.into(), key.into()));
        self
    }

    /// Looks for `hosts.toml` files in `directory`. The first directory that has one for a host decides.
    #[must_use]
    pub fn hosts_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directories.push(directory.into());
        self
    }

    /// Whether a registry that has mirrors is never asked itself when its mirrors fail.
    #[must_use]
    pub fn no_upstream(mut self, no_upstream: bool) -> Self {
        self.no_upstream = no_upstream;
        self
    }

    /// Says that `host` meters GETs of manifests, as Docker Hub does.
    #[must_use]
    pub fn meters_gets(mut self, host: impl Into<String>) -> Self {
        self.meters_gets.insert(host.into());
        self
    }

    /// The configuration. Reads no file yet.
    #[must_use]
    pub fn build(self) -> Hosts {
        Hosts { settings: self, resolved: DashMap::new() }
    }
}

impl Hosts {
    /// Begins a configuration.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How `host` (`HOST[:PORT]`) is reached.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed host and for a malformed `hosts.toml`, which is named with its line;
    /// [`Error::Io`] for a file that cannot be read.
    pub fn resolve(&self, host: &str) -> Result<Arc<Host>> {
        if let Some(known) = self.resolved.get(host) {
            return Ok(Arc::clone(&known));
        }
        check(host)?;
        let file = file::read(&self.settings.directories, host)?.unwrap_or_default();
        let resolved = Arc::new(self.assemble(host, file)?);
        self.resolved.insert(host.to_owned(), Arc::clone(&resolved));
        Ok(resolved)
    }

    /// TLS towards a host that a registry named in a redirect, a realm or a Location. Our client certificate and our
    /// header fields are not for it.
    #[must_use]
    pub fn foreign_tls(&self, authority: &str) -> Arc<Tls> {
        let insecure = self.settings.insecure.contains(authority);
        Arc::new(Tls { ca: self.settings.ca.clone(), client: None, insecure })
    }

    fn assemble(&self, name: &str, file: HostsFile) -> Result<Host> {
        let HostsFile { server, root, mirrors } = file;
        if root.pull != root.resolve {
            let reason =
                "the capabilities of the server are `pull` and `resolve`, or neither; make it a `host`";
            return Err(Error::invalid("read hosts configuration", name, reason));
        }
        let may_pull = root.pull;
        let upstream = self.address(server.as_deref().unwrap_or(name), server.is_none(), root)?;
        let mut found = Vec::with_capacity(mirrors.len());
        for (url, section) in mirrors {
            let (pull, resolve) = (section.pull, section.resolve);
            found.push(Mirror { address: self.address(&url, false, section)?, pull, resolve });
        }
        let server_is_a_mirror = found.iter().any(|mirror| mirror.address.base == upstream.base);
        let mirrors_alone = !found.is_empty() && (self.settings.no_upstream || server_is_a_mirror);
        let meters_gets = self.settings.meters_gets.contains(name)
            || Url::parse(&upstream.base).is_ok_and(|base| base.host_str() == Some(DOCKER_HUB_API));
        Ok(Host {
            name: name.to_owned(),
            upstream,
            mirrors: found,
            fall_back: may_pull && !mirrors_alone,
            meters_gets,
        })
    }

    /// The address at `text`, a URL or a bare host. `default` says that it is the registry's own name, of which
    /// [`Builder::plain_http`] and [`Builder::tls`] may speak.
    fn address(&self, text: &str, default: bool, section: Section) -> Result<Address> {
        let Builder { plain_http, tls, insecure, .. } = &self.settings;
        let schemed = if default && plain_http.contains(text) {
            format!("http://{text}")
        } else if default && (tls.contains(text) || insecure.contains(text)) {
            format!("https://{text}")
        } else {
            text.to_owned()
        };
        let base = endpoint(&schemed, section.override_path)
            .map_err(|reason| Error::invalid("resolve host", format_args!("`{text}`"), reason))?;
        let mut ca = self.settings.ca.clone();
        ca.extend(section.ca);
        let insecure = section.skip_verify
            || insecure.contains(&authority(&base))
            || (default && insecure.contains(text));
        let client = section.client.or_else(|| self.settings.client.clone());
        let base = base.as_str().trim_end_matches('/').to_owned();
        Ok(Address { base, tls: Arc::new(Tls { ca, client, insecure }), headers: section.headers })
    }
}

/// A host becomes the name of a directory and a part of URLs, so it holds nothing else than a host and a port.
fn check(host: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if host.is_empty() || host.starts_with('.') || !host.chars().all(legal) {
        return Err(Error::invalid("resolve host", format_args!("`{host}`"), "it is not HOST[:PORT]"));
    }
    Ok(())
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn bases(host: &Host) -> Vec<&str> {
        host.mirrors.iter().map(|mirror| mirror.address.base.as_str()).collect()
    }

    fn write(directory: &Path, host: &str, text: &str) {
        std::fs::create_dir_all(directory.join(host)).unwrap();
        std::fs::write(directory.join(host).join("hosts.toml"), text).unwrap();
    }

    #[test]
    fn loopback_is_plain_and_the_rest_is_tls() {
        let hosts = Hosts::builder()
            .plain_http("plain.example:5000")
            .tls("localhost:443")
            .insecure_skip_verify("127.0.0.1:443")
            .build();
        for (host, base) in [
            ("localhost:5000", "http://localhost:5000/v2"),
            ("localhost:443", "https://localhost/v2"),
            ("127.0.0.1:443", "https://127.0.0.1/v2"),
            ("a.localhost", "http://a.localhost/v2"),
            ("127.0.0.2:1", "http://127.0.0.2:1/v2"),
            ("[::1]:5000", "http://[::1]:5000/v2"),
            ("h.example", "https://h.example/v2"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2"),
            ("localhost.example", "https://localhost.example/v2"),
            ("plain.example:5000", "http://plain.example:5000/v2"),
            ("plain.example", "https://plain.example/v2"),
            ("docker.io", "https://registry-1.docker.io/v2"),
        ] {
            let found = hosts.resolve(host).unwrap();
            assert_eq!(found.upstream.base, base);
            assert_eq!(found.name, host);
            assert_eq!(found.meters_gets, host == "docker.io", "{host}");
            assert!(found.fall_back && found.mirrors.is_empty());
            assert!(Arc::ptr_eq(&found, &hosts.resolve(host).unwrap()));
        }
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        let hosts = Hosts::default();
        for host in ["", "..", "../x", "a/b", "u@h", "h?x", "h.example:x", "[::1"] {
            assert!(matches!(hosts.resolve(host), Err(Error::Invalid { .. })), "{host}");
        }
    }

    #[test]
    fn what_is_said_of_one_host_is_not_said_of_others() {
        let hosts = Hosts::builder()
            .ca("/ca.pem")
            .client_certificate("/c.pem", "/c.key")
            .insecure_skip_verify("bad.example:5000")
            .meters_gets("metered.example")
            .build();
        let bad = hosts.resolve("bad.example:5000").unwrap();
        assert!(bad.upstream.tls.insecure);
        assert!(!hosts.resolve("bad.example").unwrap().upstream.tls.insecure);
        let metered = hosts.resolve("metered.example").unwrap();
        assert!(metered.meters_gets && !metered.upstream.tls.insecure);
        assert_eq!(metered.upstream.tls.ca, [Path::new("/ca.pem")]);
        assert!(metered.upstream.tls.client.is_some());
        let foreign = hosts.foreign_tls("elsewhere.example");
        assert_eq!(*foreign, Tls { ca: vec!["/ca.pem".into()], client: None, insecure: false });
        assert!(hosts.foreign_tls("bad.example:5000").insecure);
    }

    /// Row 56: in their order, each with what it is trusted with.
    #[test]
    fn mirrors_come_from_the_first_directory_for_the_host() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(second.path(), "_default", "[host.\"https://any.example\"]");
        write(second.path(), "h.example_5000_", "[host.\"https://port.example\"]");
        write(
            first.path(),
            "docker.io",
            "server = \"https://docker.io\"\n[host.\"http://b.example\"]\ncapabilities = [\"pull\"]\nca = \"b.pem\"\n\
             [host.\"https://a.example\".header]\nx-a = \"1\"\n",
        );
        let hosts = Hosts::builder().hosts_dir(first.path()).hosts_dir(second.path()).ca("/ca.pem").build();
        let hub = hosts.resolve("docker.io").unwrap();
        assert_eq!(bases(&hub), ["http://b.example/v2", "https://a.example/v2"]);
        assert_eq!(hub.upstream.base, "https://registry-1.docker.io/v2");
        assert!(hub.meters_gets && hub.fall_back);
        let [b, a] = &hub.mirrors[..] else { panic!() };
        assert!(b.pull && !b.resolve && a.pull && a.resolve);
        assert_eq!(b.address.tls.ca, [Path::new("/ca.pem").to_owned(), first.path().join("docker.io/b.pem")]);
        assert_eq!(a.address.headers, [("x-a".to_owned(), "1".to_owned())]);
        assert!(hub.upstream.headers.is_empty() && b.address.headers.is_empty());
        assert_eq!(bases(&hosts.resolve("h.example:5000").unwrap()), ["https://port.example/v2"]);
        assert_eq!(bases(&hosts.resolve("h.example").unwrap()), ["https://any.example/v2"]);
    }

    /// Row 58a: the switch concerns hosts that have mirrors.
    #[test]
    fn the_upstream_can_be_left_out() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.example", "[host.\"https://m.example\"]");
        write(directory.path(), "b.example", "server = \"https://m.example/\"\n[host.\"https://m.example\"]");
        write(directory.path(), "c.example", "server = \"https://m.example\"");
        let files = Hosts::builder().hosts_dir(directory.path());
        let fall_back = |hosts: &Hosts, host: &str| hosts.resolve(host).unwrap().fall_back;
        let hosts = files.clone().build();
        assert!(fall_back(&hosts, "a.example") && !fall_back(&hosts, "b.example"));
        assert!(fall_back(&hosts, "c.example"));
        assert_eq!(hosts.resolve("c.example").unwrap().upstream.base, "https://m.example/v2");
        let hosts = files.no_upstream(true).build();
        assert!(!fall_back(&hosts, "a.example") && fall_back(&hosts, "plain.example"));
    }

    /// Row 58b: a malformed file is an error each time, not a host without mirrors.
    #[test]
    fn a_broken_file_is_named_each_time_until_mended() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = Hosts::builder().hosts_dir(directory.path()).build();
        write(directory.path(), "h.example", "server = 1");
        for _ in 0..2 {
            let error = hosts.resolve("h.example").unwrap_err().to_string();
            assert!(error.contains("h.example/hosts.toml:1"), "{error}");
        }
        write(directory.path(), "h.example", "capabilities = [\"pull\"]");
        assert!(hosts.resolve("h.example").unwrap_err().to_string().contains("make it a `host`"));
        write(directory.path(), "h.example", "");
        assert_eq!(hosts.resolve("h.example").unwrap().upstream.base, "https://h.example/v2");
    }
}
