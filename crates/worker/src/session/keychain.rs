//! The credentials of whoever asks now.

use async_trait::async_trait;
use lazyblob_remote::keychain::Credential;
use lazyblob_remote::{Keychain, Result};
use lazyblob_solver::SessionGroup;

use super::Sessions;

/// The keychains of the sessions that want a vertex, asked when a host asks for credentials: the first that has one.
#[derive(Debug)]
pub(super) struct OfSessions {
    sessions: Sessions,
    group: SessionGroup,
}

impl OfSessions {
    pub(super) fn new(sessions: Sessions, group: SessionGroup) -> Self {
        Self { sessions, group }
    }
}

#[async_trait]
impl Keychain for OfSessions {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        let mut refused = None;
        for session in self.sessions.of(&self.group).await {
            match session.keychain.credential(host, repository).await {
                Ok(Credential::Anonymous) => {}
                Ok(credential) => return Ok(credential),
                // Another session may know better: its failure is told if none does.
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(Credential::Anonymous), Err)
    }
}
