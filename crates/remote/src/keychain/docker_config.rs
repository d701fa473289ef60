//! Docker's `config.json`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::auth_file::{self, Scopes};
use super::{Credential, Environment, Helpers, Keychain};
use crate::error::Result;

/// The credentials docker logged in with: `credHelpers`, `credsStore` and `auths` of `config.json`, in this order. A
/// file that does not exist knows nobody.
#[derive(Debug)]
pub struct DockerConfig {
    file: Option<PathBuf>,
    helpers: Arc<Helpers>,
}

impl DockerConfig {
    /// The configuration at `file`.
    pub fn at(file: impl Into<PathBuf>, helpers: Arc<Helpers>) -> Self {
        Self { file: Some(file.into()), helpers }
    }

    /// The configuration `environment` leads to.
    #[must_use]
    pub fn of(environment: &Environment, helpers: Arc<Helpers>) -> Self {
        Self { file: environment.docker_config_file(), helpers }
    }
}

#[async_trait]
impl Keychain for DockerConfig {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        let Some(file) = &self.file else { return Ok(Credential::Anonymous) };
        match auth_file::read(file).await? {
            Some(found) => found.credential(host, repository, Scopes::Lenient, &self.helpers).await,
            None => Ok(Credential::Anonymous),
        }
    }
}
