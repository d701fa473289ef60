//! The credentials of whoever asks now.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lazyblob_remote::keychain::{Credential, Identity};
use lazyblob_remote::{Keychain, Result};
use lazyblob_solver::SessionGroup;

use super::Sessions;

/// The keychains of the sessions that want a vertex, asked when a host asks for credentials: the first that has one. One
/// that a host does not take gives way to the next session's.
#[derive(Debug)]
pub(super) struct OfSessions {
    sessions: Sessions,
    group: SessionGroup,
    /// What was not taken, by host and repository.
    refused: Mutex<HashSet<(String, String, Identity)>>,
}

impl OfSessions {
    pub(super) fn new(sessions: Sessions, group: SessionGroup) -> Self {
        Self { sessions, group, refused: Mutex::default() }
    }

    fn is_refused(&self, host: &str, repository: &str, credential: &Credential) -> bool {
        let asked = (host.to_owned(), repository.to_owned(), credential.identity());
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&asked)
    }

    /// The first credential that was not refused, and the first one of all.
    async fn find(&self, host: &str, repository: &str) -> (Option<Credential>, Result<Credential>) {
        let mut first = None;
        for session in self.sessions.of(&self.group).await {
            match session.keychain.credential(host, repository).await {
                Ok(Credential::Anonymous) => {}
                Ok(credential) if self.is_refused(host, repository, &credential) => {
                    first = first.or(Some(Ok(credential)));
                }
                Ok(credential) => return (Some(credential), Ok(Credential::Anonymous)),
                // Another session may know better: its failure is told if none does.
                Err(error) => first = first.or(Some(Err(error))),
            }
        }
        (None, first.unwrap_or(Ok(Credential::Anonymous)))
    }
}

#[async_trait]
impl Keychain for OfSessions {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        let (fresh, first) = self.find(host, repository).await;
        fresh.map_or(first, Ok)
    }

    async fn refused(&self, host: &str, repository: &str, credential: &Credential) -> bool {
        let asked = (host.to_owned(), repository.to_owned(), credential.identity());
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(asked);
        self.find(host, repository).await.0.is_some()
    }
}
