//! Where credentials come from. They are looked up when a host asks for them and never travel to another host.
//!
//! [`standard`] is what the command uses: first what the caller fixed by hand, then docker's and podman's files with
//! their helpers, each looked up once per run. The parts are public, to be chained otherwise.

mod auth_file;
mod chain;
mod docker_config;
mod environment;
mod fixed;
mod heard;
mod helper;
mod identity;
mod login;
mod memo;
mod podman;

use std::fmt;
use std::hash::{Hash, Hasher};

use async_trait::async_trait;

pub use self::chain::{Chain, standard};
pub use self::docker_config::DockerConfig;
pub use self::environment::Environment;
pub use self::fixed::Fixed;
pub(crate) use self::heard::Heard;
pub use self::helper::Helpers;
pub use self::identity::Identity;
pub use self::login::Login;
pub use self::memo::Memo;
pub use self::podman::Podman;
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
    /// User name and password. The user name `<token>` is docker's way to say that the password is an identity token.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        let (username, password) = (username.into(), Secret::new(password));
        if username == "<token>" { Self::IdentityToken(password) } else { Self::Basic { username, password } }
    }

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

    /// Is told that what it said was not accepted there, or not enough. Says whether it has another credential for the
    /// same question, which it then gives; most know one at most.
    async fn refused(&self, _host: &str, _repository: &str, _credential: &Credential) -> bool {
        false
    }
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
