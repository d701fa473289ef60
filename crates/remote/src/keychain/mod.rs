//! Where credentials come from. They are looked up when a host asks for them and never travel to another host.

use std::fmt;
use std::hash::{Hash, Hasher};

use async_trait::async_trait;

use crate::error::Result;

/// A secret that never shows itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, to be put into a request and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What a host may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// User name and password, for Basic and for token servers.
    Basic {
        /// The user name.
        username: String,
        /// The password or personal access token.
        password: Secret,
    },
    /// A refresh token to be exchanged at the token server (`grant_type=refresh_token`).
    IdentityToken(Secret),
    /// A bearer token to be sent as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// Tells credentials apart without showing them; stable within a process.
    #[must_use]
    pub fn id(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Finds the credential for a host.
#[async_trait]
pub trait Keychain: Send + Sync + fmt::Debug {
    /// The credential for `host` (`HOST[:PORT]`, `docker.io` for Docker Hub) and `repository` (podman's auth files
    /// have keys by path prefix). [`Credential::Anonymous`] where there is none.
    ///
    /// # Errors
    /// A configuration that cannot be read or a helper that fails or hangs: such a failure is not anonymity.
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential>;
}

/// A keychain without keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl Keychain for Anonymous {
    async fn credential(&self, _host: &str, _repository: &str) -> Result<Credential> {
        Ok(Credential::Anonymous)
    }
}
