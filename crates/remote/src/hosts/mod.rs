//! How each host is reached: scheme, TLS, mirrors.
//!
//! [`Hosts`] puts it together, strongest first: what the command line says of a host, the `hosts.toml` of its directory,
//! the defaults (plain HTTP on loopback, TLS elsewhere; `docker.io` is at `registry-1.docker.io`).
//!
//! # Directories of `hosts.toml`
//! The layout is containerd's. In a hosts directory the first of these that exists is taken: `HOST_PORT_`, `HOST:PORT`
//! (`HOST` where there is no port), `_default`. Its `hosts.toml` holds:
//!
//! | key | value |
//! |---|---|
//! | `server` | the upstream in place of the registry itself |
//! | `host."URL"` | a mirror; they are asked in the order of the file |
//! | `capabilities` | of `"pull"`, `"resolve"`, `"push"`; all where it is missing |
//! | `ca` | a PEM file or a list of them |
//! | `client` | a PEM file with chain and key, or a list of such files or of pairs `[chain, key]`; the first is used |
//! | `skip_verify` | `true` accepts any certificate |
//! | `header` | a table of header fields: a string or a list of strings |
//! | `override_path` | `true` where the URL's path is the API's root and `/v2` is not to be added |
//!
//! At the top level they speak of the server, below `host."URL"` of that mirror. Relative files are relative to the
//! directory. Other keys are ignored, which the log says. Pushes go to the upstream alone.
//!
//! # No upstream
//! Where [`Builder::no_upstream`] is set, or `server` is also one of the mirrors, nothing but the mirrors is asked for
//! pulls ([`Host::fall_back`]). A host without mirrors is not concerned.

mod config;
mod file;
mod toml;

use std::sync::Arc;

pub use self::config::{Builder, Hosts};
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
