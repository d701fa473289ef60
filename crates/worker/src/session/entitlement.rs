//! What a build may do only if its session allows it.

use std::fmt;
use std::str::FromStr;

/// Something that a build may do only if its session allows it (BuildKit's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Entitlement {
    /// An op may ask for the host's network by name (`network.host`).
    NetworkHost,
    /// An op may run with all capabilities and devices, without seccomp or masked paths (`security.insecure`).
    SecurityInsecure,
}

impl Entitlement {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
        }
    }
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such entitlement.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no entitlement: there are network.host and security.insecure")]
pub struct NoEntitlement(String);

impl FromStr for Entitlement {
    type Err = NoEntitlement;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::NetworkHost, Self::SecurityInsecure]
            .into_iter()
            .find(|known| known.as_str() == name)
            .ok_or_else(|| NoEntitlement(name.to_owned()))
    }
}
