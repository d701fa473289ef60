//! Who may do what: asked before every request, with everything the request needs.

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};

/// Something that can be done to a repository; the names are those of token scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read manifests, blobs and lists.
    Pull,
    /// Upload blobs and put manifests.
    Push,
    /// Delete manifests, tags, blobs and upload sessions.
    Delete,
}

impl Action {
    /// The name of this action in a scope.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// One thing a request needs. A mount needs things of two repositories.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// The repository.
    pub repository: String,
    /// What is to be done to it.
    pub action: Action,
}

/// What a refused client is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Come again with credentials: 401 and these `WWW-Authenticate` values.
    Challenge(Vec<HeaderValue>),
    /// Who you are is clear, and you may not: 403.
    Denied,
}

/// Decides who may do what.
#[async_trait]
pub trait Authorizer: Send + Sync + std::fmt::Debug + 'static {
    /// Decides on a request by its headers and needs; `/v2/` needs nothing but a known client.
    ///
    /// # Errors
    /// The refusal to send.
    async fn authorize(&self, headers: &HeaderMap, needs: &[Need]) -> Result<(), Refusal>;
}

/// Lets everybody do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

#[async_trait]
impl Authorizer for Open {
    async fn authorize(&self, _headers: &HeaderMap, _needs: &[Need]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Lets everybody read and nobody write.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly;

#[async_trait]
impl Authorizer for ReadOnly {
    async fn authorize(&self, _headers: &HeaderMap, needs: &[Need]) -> Result<(), Refusal> {
        if only_reads(needs) { Ok(()) } else { Err(Refusal::Denied) }
    }
}

/// Whether nothing but reading is asked for.
pub(crate) fn only_reads(needs: &[Need]) -> bool {
    needs.iter().all(|need| need.action == Action::Pull)
}
