//! Names to addresses, with the private ones left out for requests that must stay in the public internet.

use std::net::{IpAddr, SocketAddr};

use dashmap::DashMap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Spelling, is_public};
use crate::body::BoxError;

/// A host that was about to lead a request to an address that is not public.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("host `{host}` leads to {address}, which is not a public address")]
pub(crate) struct ForbiddenAddress {
    /// The host as in the request.
    pub(crate) host: String,
    /// The first of its addresses that is not public.
    pub(crate) address: String,
}

/// Resolves to public addresses only. It runs for the connection itself, so no second look-up can give a different
/// answer than the one that was checked.
#[derive(Debug, Default)]
pub(crate) struct PublicOnly {
    /// Hosts that are proxies of the environment: the user named them, and they may be anywhere.
    pub(crate) proxies: Vec<String>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let found = addresses(name.as_str()).await?;
            let kept = if proxy { found } else { only_public(name.as_str(), found)? };
            Ok::<Addrs, BoxError>(Box::new(kept.into_iter().map(|address| SocketAddr::new(address, 0))))
        })
    }
}

fn only_public(host: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, BoxError> {
    let (public, private): (Vec<IpAddr>, Vec<IpAddr>) =
        found.into_iter().partition(|address| is_public(*address));
    match private.first() {
        Some(address) if public.is_empty() => {
            Err(ForbiddenAddress { host: host.to_owned(), address: address.to_string() }.into())
        }
        _ => Ok(public),
    }
}

async fn addresses(host: &str) -> std::io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
}

/// Which hosts are public, as far as asked. What was found is kept for the process; what was not found is asked again.
#[derive(Debug, Default)]
pub(crate) struct Publicness {
    known: DashMap<String, Option<ForbiddenAddress>>,
}

impl Publicness {
    /// The first address of `host` that is not public, if there is one.
    ///
    /// # Errors
    /// The name does not resolve.
    pub(crate) async fn check(&self, host: &str) -> std::io::Result<Result<(), ForbiddenAddress>> {
        let forbidden = |address: String| ForbiddenAddress { host: host.to_owned(), address };
        let name = match Spelling::of(host) {
            Spelling::Literal(address) if is_public(address) => return Ok(Ok(())),
            Spelling::Literal(address) => return Ok(Err(forbidden(address.to_string()))),
            Spelling::Loopback => return Ok(Err(forbidden("this machine".to_owned()))),
            Spelling::Name(name) => name,
            Spelling::Malformed => {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "malformed host"));
            }
        };
        let known = self.known.get(&name).map(|entry| entry.value().clone());
        let answer = match known {
            Some(answer) => answer,
            None => {
                let found = addresses(&name).await?;
                let private = found.into_iter().find(|address| !is_public(*address));
                let answer = private.map(|address| forbidden(address.to_string()));
                self.known.insert(name, answer.clone());
                answer
            }
        };
        Ok(answer.map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_one_public_address_keeps_that_one() {
        let [public, private]: [IpAddr; 2] = ["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        assert_eq!(only_public("h.example", vec![private, public]).unwrap(), [public]);
        let error = only_public("h.example", vec![private]).unwrap_err().to_string();
        assert!(error.contains("h.example") && error.contains("10.0.0.1"), "{error}");
    }

    #[tokio::test]
    async fn literals_and_localhost_need_no_look_up() {
        let hosts = Publicness::default();
        assert_eq!(hosts.check("8.8.8.8").await.unwrap(), Ok(()));
        for host in ["127.0.0.1", "[::1]", "localhost", "x.localhost", "10.1", "[fd00::1]"] {
            let forbidden = hosts.check(host).await.unwrap().unwrap_err();
            assert_eq!(forbidden.host, host);
        }
        assert!(hosts.check("not a host").await.is_err());
        assert!(hosts.known.is_empty());
    }
}
