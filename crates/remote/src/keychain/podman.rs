//! Podman's `auth.json`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::auth_file::{self, Scopes};
use super::{Credential, Environment, Helpers, Keychain};
use crate::error::{Error, Result};

/// The credentials podman logged in with. A key may name a path; the longest that covers the repository wins.
#[derive(Debug)]
pub struct Podman {
    files: Vec<PathBuf>,
    named: bool,
    helpers: Arc<Helpers>,
}

impl Podman {
    /// The file `REGISTRY_AUTH_FILE` names, which must exist then; else the files at podman's usual places.
    #[must_use]
    pub fn of(environment: &Environment, helpers: Arc<Helpers>) -> Self {
        match &environment.registry_auth_file {
            Some(file) => Self { files: vec![file.clone()], named: true, helpers },
            None => Self { files: environment.podman_auth_files(), named: false, helpers },
        }
    }
}

#[async_trait]
impl Keychain for Podman {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        for file in &self.files {
            let Some(found) = auth_file::read(file).await? else {
                if self.named {
                    let reason = "REGISTRY_AUTH_FILE names it, but it does not exist";
                    return Err(Error::invalid("read credentials", file.display(), reason));
                }
                continue;
            };
            let credential = found.credential(host, repository, Scopes::Strict, &self.helpers).await?;
            if credential != Credential::Anonymous {
                return Ok(credential);
            }
        }
        Ok(Credential::Anonymous)
    }
}
