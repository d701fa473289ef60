//! What a keychain said last: of several credentials one knows which was refused.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Credential, Keychain};
use crate::error::Result;

/// A keychain as one request hears it.
#[derive(Debug)]
pub(crate) struct Heard {
    keychain: Arc<dyn Keychain>,
    last: Mutex<Option<Credential>>,
}

impl Heard {
    pub(crate) fn new(keychain: &Arc<dyn Keychain>) -> Self {
        Self { keychain: Arc::clone(keychain), last: Mutex::default() }
    }

    /// What was said last, if anything was asked.
    pub(crate) fn last(&self) -> Option<Credential> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Keychain for Heard {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        let said = self.keychain.credential(host, repository).await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.clone());
        Ok(said)
    }
}
