//! Credentials named by hand, one for each host.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::auth_file::canonical;
use super::{Credential, Keychain};
use crate::error::Result;

/// Credentials by host, for every repository of it.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    hosts: BTreeMap<String, Credential>,
}

impl Fixed {
    /// Shows `credential` to `host` (`HOST[:PORT]`) and to no other.
    #[must_use]
    pub fn with(mut self, host: &str, credential: Credential) -> Self {
        self.hosts.insert(canonical(host).to_owned(), credential);
        self
    }
}

#[async_trait]
impl Keychain for Fixed {
    async fn credential(&self, host: &str, _repository: &str) -> Result<Credential> {
        Ok(self.hosts.get(canonical(host)).cloned().unwrap_or(Credential::Anonymous))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_credential_is_for_its_host_alone() {
        let fixed = Fixed::default()
            .with("h.io:5000", Credential::basic("u", "p"))
            .with("index.docker.io", Credential::basic("hub", "p"));
        let user = async |host: &str| match fixed.credential(host, "r").await.unwrap() {
            Credential::Basic { username, .. } => username,
            other => format!("{other:?}"),
        };
        assert_eq!(user("h.io:5000").await, "u");
        assert_eq!(user("docker.io").await, "hub");
        assert_eq!(user("h.io").await, "Anonymous");
        assert_eq!(user("h.io:5001").await, "Anonymous");
        assert!(!format!("{fixed:?}").contains("\"p\""));
    }
}
