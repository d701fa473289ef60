//! Registries: the verbs of the distribution API.
//!
//! [`Registry`] holds what a whole run shares: connections, tokens, counts, learned facts. [`Repository`] has the
//! verbs; each is one request, a 401 and redirects apart. [`RegistrySource`] and [`RegistryTarget`] make a repository
//! an end of a copy and add the retries of [`crate::transfer`].
//!
//! No `/v2/` ping is ever sent: the challenge comes with the first real request.

mod blobs;
mod chunks;
mod exchange;
mod facts;
mod hops;
mod link;
mod login;
mod manifests;
mod mount;
mod outgoing;
mod provider;
mod push;
mod referrers;
mod response;
mod source;
mod tags;
mod target;
mod turn;
mod upload;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use http::HeaderMap;

pub use provider::RepositoryProvider;
pub use referrers::fallback_tag;
pub use source::RegistrySource;
pub use target::RegistryTarget;

use crate::access::Access;
use crate::auth::{Authority, Scopes, Secrets};
use crate::error::{Result, printable};
use crate::hosts::{Host, Hosts};
use crate::reference::RepositoryName;
use crate::stats::Stats;
use crate::transfer::{self, Transfers};
use crate::transport::Transport;

use facts::Facts;

/// Values that steer the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How its transfers go.
    pub transfers: transfer::Settings,
    /// The size of an upload chunk in bytes, where a host does not take a blob in one request. The largest that the
    /// known registries take is 4 MiB.
    pub chunk: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { transfers: transfer::Settings::default(), chunk: 4 * 1024 * 1024 }
    }
}

/// All registries, as one run sees them. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Arc<dyn Transport>,
    hosts: Hosts,
    settings: Settings,
    transfers: Transfers,
    authority: Authority,
    facts: DashMap<String, Arc<Facts>>,
    stats: Arc<Stats>,
    /// Warnings already shown (RFC 7234 `Warning: 299`): each once.
    warned: Mutex<HashSet<String>>,
}

impl Registry {
    /// A client that sends through `transport` and reaches hosts as `hosts` says.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, hosts: Hosts, settings: Settings) -> Self {
        let transfers = Transfers::new(settings.transfers.clone());
        Self(Arc::new(Inner {
            transport,
            hosts,
            settings,
            transfers,
            authority: Authority::default(),
            facts: DashMap::new(),
            stats: Arc::new(Stats::default()),
            warned: Mutex::default(),
        }))
    }

    /// What this run has sent and moved so far.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.0.stats
    }

    /// The values that steer this client.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The engine that its blobs move with and its requests take their slots from.
    #[must_use]
    pub fn transfers(&self) -> &Transfers {
        &self.0.transfers
    }

    /// The verbs of `name` on behalf of `access`. `scopes` is what the whole operation needs of this registry, so that
    /// one token serves it. Sends nothing.
    ///
    /// # Errors
    /// A malformed host configuration.
    pub fn repository(&self, name: &RepositoryName, scopes: Scopes, access: &Access) -> Result<Repository> {
        let host = self.0.hosts.resolve(name.host())?;
        Ok(Repository { registry: self.clone(), name: name.clone(), host, scopes, access: access.clone() })
    }

    /// Waits for what goes on though nobody waits for it any more: transfers that wind down, a token being minted.
    pub async fn close(&self) {
        self.0.transfers.close().await;
        self.0.authority.close().await;
    }

    /// Says something about `subject`, once in the life of this client.
    fn note_once(&self, subject: &str, access: &Access, note: impl FnOnce() -> String) {
        if self.0.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(subject.to_owned()) {
            access.progress.note(&note());
        }
    }

    fn facts(&self, host: &str) -> Arc<Facts> {
        Arc::clone(&self.0.facts.entry(host.to_owned()).or_default())
    }

    /// Shows each warning of a host once. distribution-spec "Warnings": clients must not act on them.
    fn warnings(&self, headers: &HeaderMap, secrets: &Secrets, access: &Access) {
        for value in headers.get_all(http::header::WARNING) {
            let text = value.to_str().ok().and_then(|value| value.strip_prefix("299 - "));
            let text = text.map(|text| secrets.redact(text.trim_matches('"')));
            let Some(text) = text.map(|text| printable(&text).into_owned()) else { continue };
            self.note_once(&text, access, || format!("warning from the registry: {text}"));
        }
    }
}

/// The verbs of one repository on behalf of one asker.
#[derive(Clone, Debug)]
pub struct Repository {
    registry: Registry,
    name: RepositoryName,
    host: Arc<Host>,
    scopes: Scopes,
    access: Access,
}

impl Repository {
    /// Host and path.
    #[must_use]
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// On whose behalf it is asked.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// How its host is reached.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    fn facts(&self) -> Arc<Facts> {
        self.registry.facts(self.name.host())
    }
}
