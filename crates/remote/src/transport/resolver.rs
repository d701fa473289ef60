//! Names to addresses, with the private ones left out for requests that must stay in the public internet.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Spelling, is_public};
use crate::body::BoxError;

/// A host that was about to lead a request to an address that is not public.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", said(.host, .address))]
pub(crate) struct ForbiddenAddress {
    /// The host as in the request.
    pub(crate) host: String,
    /// The first of its addresses that is not public.
    pub(crate) address: String,
}

fn said(host: &str, address: &str) -> String {
    // An address that is written where a name could be leads nowhere: it is the address.
    if host.trim_matches(['[', ']']) == address {
        format!("{address} is not a public address")
    } else {
        format!("host `{host}` leads to {address}, which is not a public address")
    }
}

/// The addresses of names, and which of them were dialled last.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Names that are not looked up.
    known: BTreeMap<String, Vec<IpAddr>>,
    dialled: DashMap<String, Vec<IpAddr>>,
}

impl Names {
    pub(crate) fn new(known: BTreeMap<String, Vec<IpAddr>>) -> Self {
        Self { known, dialled: DashMap::new() }
    }

    async fn addresses(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        if let Some(known) = self.known.get(host) {
            return Ok(known.clone());
        }
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }

    /// What was dialled for `host`, if it has several addresses: the system's error is that of one of them.
    pub(crate) fn several(&self, host: &str) -> Option<Several> {
        self.dialled
            .get(host)
            .filter(|addresses| addresses.len() > 1)
            .map(|addresses| Several(addresses.clone()))
    }
}

/// Addresses that were dialled one after the other, or side by side (RFC 8305).
pub(crate) struct Several(Vec<IpAddr>);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.0.iter().map(IpAddr::to_string).collect();
        write!(f, "none of {} answers", addresses.join(", "))
    }
}

/// Resolves for the connection itself, so that no second look-up can give a different answer than the one that was
/// checked.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) names: Arc<Names>,
    /// Whether only public addresses may be dialled.
    pub(crate) public: bool,
    /// Hosts that are proxies of the environment: the user named them, and they may be anywhere.
    pub(crate) proxies: Vec<String>,
}

impl Resolve for Dialled {
    fn resolve(&self, name: Name) -> Resolving {
        let names = Arc::clone(&self.names);
        let proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        let anywhere = !self.public || proxy;
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            let kept = if anywhere { found } else { only_public(name.as_str(), found)? };
            names.dialled.insert(name.as_str().to_owned(), kept.clone());
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

/// What the addresses of a name are.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// The first that is not public.
    private: Option<IpAddr>,
    /// Whether there is a public one.
    public: bool,
}

impl Found {
    fn of(addresses: &[IpAddr]) -> Self {
        Self {
            private: addresses.iter().copied().find(|address| !is_public(*address)),
            public: addresses.iter().any(|address| is_public(*address)),
        }
    }
}

/// Which hosts are public, as far as asked. What was found is kept for the process; what was not found is asked again.
#[derive(Debug, Default)]
pub(crate) struct Publicness {
    names: Arc<Names>,
    known: DashMap<String, Found>,
    /// Names that a public address has answered for. A later look-up that finds none does not take that back.
    met: DashSet<String>,
}

impl Publicness {
    pub(crate) fn of(names: Arc<Names>) -> Self {
        Self { names, ..Self::default() }
    }

    /// The first address of `host` that is not public, if there is one: for a host that somebody else has named.
    ///
    /// # Errors
    /// The name does not resolve.
    pub(crate) async fn check(&self, host: &str) -> std::io::Result<Result<(), ForbiddenAddress>> {
        let forbidden = |address: String| Err(ForbiddenAddress { host: host.to_owned(), address });
        let found = match Spelling::of(host) {
            Spelling::Literal(address) => Found::of(&[address]),
            Spelling::Loopback => return Ok(forbidden("this machine".to_owned())),
            Spelling::Name(name) => self.find(name).await?,
            Spelling::Malformed => {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "malformed host"));
            }
        };
        Ok(found.private.map_or(Ok(()), |address| forbidden(address.to_string())))
    }

    /// Whether `host` is for certain a private one, which may name private hosts. Whoever owns a name decides what
    /// it resolves to, so one public address makes it public, and so does no address at all.
    pub(crate) async fn is_private(&self, host: &str) -> bool {
        match Spelling::of(host) {
            Spelling::Literal(address) => !is_public(address),
            Spelling::Loopback => true,
            Spelling::Malformed => false,
            Spelling::Name(name) if self.met.contains(&name) => false,
            Spelling::Name(name) => {
                self.find(name).await.is_ok_and(|found| found.private.is_some() && !found.public)
            }
        }
    }

    /// Takes note of the address that answered for `host`.
    pub(crate) fn meet(&self, host: &str, address: IpAddr) {
        if !is_public(address) {
            return;
        }
        if let Spelling::Name(name) = Spelling::of(host)
            && !self.met.contains(&name)
        {
            self.met.insert(name);
        }
    }

    async fn find(&self, name: String) -> std::io::Result<Found> {
        if let Some(found) = self.known.get(&name).map(|found| *found) {
            return Ok(found);
        }
        let found = Found::of(&self.names.addresses(&name).await?);
        self.known.insert(name, found);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 92a: of a name's addresses only the public ones are dialled.
    #[test]
    fn a_name_with_one_public_address_keeps_that_one() {
        let [public, private]: [IpAddr; 2] = ["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        assert_eq!(only_public("h.example", vec![private, public]).unwrap(), [public]);
        let error = only_public("h.example", vec![private]).unwrap_err().to_string();
        assert!(error.contains("h.example") && error.contains("10.0.0.1"), "{error}");
    }

    /// Row 92a: addresses in the place of names.
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

    /// Row 92a: a public host does not become private by adding an address.
    #[tokio::test]
    async fn one_public_address_makes_a_host_public_whatever_else_it_adds() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let hosts = Publicness::default();
        for (name, found, private) in [
            ("private.test", &["10.0.0.1", "fd00::1"][..], true),
            ("public.test", &["8.8.8.8"], false),
            ("mixed.test", &["10.0.0.1", "8.8.8.8"], false),
            ("empty.test", &[], false),
        ] {
            hosts.known.insert(name.to_owned(), Found::of(&addresses(found)));
            assert_eq!(hosts.is_private(name).await, private, "{name}");
        }
        for (host, private) in
            [("127.0.0.1", true), ("x.localhost", true), ("8.8.8.8", false), ("a b", false)]
        {
            assert_eq!(hosts.is_private(host).await, private, "{host}");
        }
        // As a host that somebody else names, the mixed one is no better than a private one.
        assert!(hosts.check("mixed.test").await.unwrap().is_err());
    }

    /// Row 92a: nor by answering otherwise later.
    #[tokio::test]
    async fn who_answered_at_a_public_address_is_not_private_by_a_later_look_up() {
        let hosts = Publicness::default();
        hosts.known.insert("h.test".to_owned(), Found::of(&["10.0.0.1".parse().unwrap()]));
        hosts.meet("h.test", "10.0.0.1".parse().unwrap());
        assert!(hosts.is_private("h.test").await);
        hosts.meet("H.test", "8.8.8.8".parse().unwrap());
        assert!(!hosts.is_private("h.test").await);
    }

    #[test]
    fn an_address_is_said_once() {
        let said = |host: &str, address: &str| {
            ForbiddenAddress { host: host.to_owned(), address: address.to_owned() }.to_string()
        };
        assert_eq!(said("169.254.169.254", "169.254.169.254"), "169.254.169.254 is not a public address");
        assert_eq!(said("[::1]", "::1"), "::1 is not a public address");
        assert!(said("h.test", "10.0.0.1").contains("`h.test` leads to 10.0.0.1"));
    }
}
