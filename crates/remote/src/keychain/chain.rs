//! Keychains one after the other.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Credential, DockerConfig, Environment, Fixed, Helpers, Keychain, Memo, Podman};
use crate::error::Result;

/// Asks keychains in turn; the first that knows a credential decides. An error stops it: a keychain that cannot be read
/// may be the one that knows.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    keychains: Vec<Arc<dyn Keychain>>,
}

impl Chain {
    /// The same chain with `keychain` at its end.
    #[must_use]
    pub fn then(mut self, keychain: impl Keychain + 'static) -> Self {
        self.keychains.push(Arc::new(keychain));
        self
    }
}

#[async_trait]
impl Keychain for Chain {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        for keychain in &self.keychains {
            let found = keychain.credential(host, repository).await?;
            if found != Credential::Anonymous {
                return Ok(found);
            }
        }
        Ok(Credential::Anonymous)
    }
}

/// The keychain of the command: `fixed`, the file of `REGISTRY_AUTH_FILE` if it is set, docker's configuration, and
/// podman's files. Every question is asked once per run.
#[must_use]
pub fn standard(fixed: Fixed, environment: &Environment, helpers: &Arc<Helpers>) -> Arc<dyn Keychain> {
    let docker = DockerConfig::of(environment, Arc::clone(helpers));
    let podman = Podman::of(environment, Arc::clone(helpers));
    let chain = Chain::default().then(fixed);
    let chain = if environment.registry_auth_file.is_some() {
        // Who sets the variable means that file.
        chain.then(podman).then(docker)
    } else {
        chain.then(docker).then(podman)
    };
    Arc::new(Memo::new(chain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[derive(Debug)]
    struct Broken;

    #[async_trait]
    impl Keychain for Broken {
        async fn credential(&self, host: &str, _repository: &str) -> Result<Credential> {
            Err(Error::invalid("ask", host, "broken"))
        }
    }

    #[tokio::test]
    async fn the_first_that_knows_decides_and_an_error_stops() {
        let (a, b) = (Credential::basic("a", "p"), Credential::basic("b", "p"));
        let chain = Chain::default()
            .then(Fixed::default().with("a.io", a.clone()))
            .then(Fixed::default().with("a.io", b.clone()).with("b.io", b.clone()))
            .then(Broken);
        assert_eq!(chain.credential("a.io", "r").await.unwrap(), a);
        assert_eq!(chain.credential("b.io", "r").await.unwrap(), b);
        assert!(chain.credential("c.io", "r").await.is_err());
        assert_eq!(Chain::default().credential("c.io", "r").await.unwrap(), Credential::Anonymous);
    }
}
