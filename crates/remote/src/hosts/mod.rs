//! How each host is reached: scheme, TLS, mirrors.

use std::sync::Arc;

use crate::transport::Tls;

/// How one registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `HOST[:PORT]` as in references.
    pub name: String,
    /// Where its API is.
    pub upstream: Address,
    /// Asked before the upstream, in this order, for pulls; each only for what it is capable of.
    pub mirrors: Vec<Mirror>,
    /// Whether the upstream may be asked when every mirror has failed.
    pub fall_back: bool,
    /// Whether the registry meters GETs of manifests, so that a HEAD is cheaper for its user. True of Docker Hub.
    pub meters_gets: bool,
}

/// A base address of the distribution API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host, port and path up to and including `/v2`, without a slash at the end.
    pub base: String,
    /// TLS of this address.
    pub tls: Arc<Tls>,
    /// Header fields every request to it carries.
    pub headers: Vec<(String, String)>,
}

/// A mirror of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where it is.
    pub address: Address,
    /// It may be asked for manifests by digest and for blobs.
    pub pull: bool,
    /// It may be asked for manifests by tag.
    pub resolve: bool,
}

/// TEMPORARY
#[derive(Clone, Debug)]
pub struct Hosts;
impl Hosts {
    /// x
    pub fn resolve(&self, host: &str) -> crate::Result<Arc<Host>> {
        let _ = host;
        Err(crate::Error::invalid("", "", ""))
    }
}
