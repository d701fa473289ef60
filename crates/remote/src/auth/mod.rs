//! Authorisation: the challenge comes from the first real request (no ping), one token serves a whole scope set, is
//! minted once however many ask, and is renewed when the host no longer takes it.

mod challenge;
mod scope;
mod secrets;
mod token;
mod tokens;

use dashmap::DashMap;
use futures::future::BoxFuture;
use http::HeaderValue;
use url::Url;

pub(crate) use challenge::{Challenge, parse as parse_challenges};
pub use scope::Scopes;
pub(crate) use secrets::Secrets;
use tokens::{TokenKey, Tokens};

pub(crate) use token::{Token, TokenRequest, basic, read as read_token};

use crate::access::Access;
use crate::error::{Error, Result, What};
use crate::keychain::Credential;

/// What is remembered of one address of the distribution API.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    challenges: DashMap<String, Challenge>,
    /// What an asker's scopes turned out to lack, by address: some registries name their repositories otherwise.
    learned: DashMap<(String, Scopes), Scopes>,
    tokens: Tokens,
}

/// Who asks, for what, and where: the parts that choose a credential.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// Base address of the API that is asked.
    pub(crate) base: &'a str,
    /// `HOST[:PORT]` the keychain knows it by.
    pub(crate) host: &'a str,
    /// Path of the repository.
    pub(crate) repository: &'a str,
    /// What the whole operation needs.
    pub(crate) scopes: &'a Scopes,
    /// Whose credentials.
    pub(crate) access: &'a Access,
}

/// How the authority gets a token: one or two requests.
pub(crate) trait Minter: Send + Sync {
    /// Sends the request to the token server once the future is polled. It outlives the caller: others may wait for it.
    fn mint(&self, request: TokenRequest) -> BoxFuture<'static, Result<Token>>;
}

impl Authority {
    /// Whether the address has asked for authorisation in this run.
    pub(crate) fn knows(&self, base: &str) -> bool {
        self.challenges.contains_key(base)
    }

    /// The `Authorization` for a request before it is sent: nothing where the host has not asked for any yet.
    pub(crate) async fn before(&self, asker: Asker<'_>, minter: &dyn Minter) -> Result<Option<HeaderValue>> {
        let known = self.challenges.get(asker.base).map(|challenge| challenge.clone());
        match known {
            None => Ok(None),
            Some(challenge) => self.answer(asker, challenge, None, minter).await,
        }
    }

    /// The `Authorization` after a 401 to a request that carried `refused`. Nothing where there is nothing else to show.
    pub(crate) async fn after(
        &self,
        asker: Asker<'_>,
        challenges: Vec<Challenge>,
        refused: Option<&HeaderValue>,
        minter: &dyn Minter,
    ) -> Result<Option<HeaderValue>> {
        let mut challenges = challenges;
        // A token beats a password sent with every request.
        challenges.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
        let Some(challenge) = challenges.into_iter().next() else { return Ok(None) };
        self.challenges.insert(asker.base.to_owned(), challenge.without_scopes());
        let header = self.answer(asker, challenge, refused, minter).await?;
        Ok(header.filter(|header| Some(header) != refused))
    }

    /// Waits until nothing is being minted any more.
    pub(crate) async fn close(&self) {
        self.tokens.close().await;
    }

    async fn answer(
        &self,
        asker: Asker<'_>,
        challenge: Challenge,
        refused: Option<&HeaderValue>,
        minter: &dyn Minter,
    ) -> Result<Option<HeaderValue>> {
        let credential = asker.access.keychain.credential(asker.host, asker.repository).await?;
        match (challenge, credential) {
            (_, Credential::RegistryToken(token)) => {
                header(asker, &format!("Bearer {}", token.expose())).map(Some)
            }
            (Challenge::Basic, Credential::Basic { username, password }) => {
                header(asker, &basic(&username, &password)).map(Some)
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, scopes }, credential) => {
                let token = self.token(asker, (realm, service, scopes), credential, refused, minter).await?;
                header(asker, &format!("Bearer {}", token.secret.expose())).map(Some)
            }
        }
    }

    /// A token of the scope set, from memory or newly minted. All who ask for it at once wait for one request.
    async fn token(
        &self,
        asker: Asker<'_>,
        (realm, service, challenged): (String, Option<String>, Vec<String>),
        credential: Credential,
        refused: Option<&HeaderValue>,
        minter: &dyn Minter,
    ) -> Result<Token> {
        let asked = (asker.base.to_owned(), asker.scopes.clone());
        let mut scopes = self.learned.get(&asked).map_or_else(|| asker.scopes.clone(), |known| known.clone());
        scopes.extend(&challenged);
        let key =
            TokenKey { realm: realm.clone(), service: service.clone(), scopes, credential: credential.id() };
        let shown = refused.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        let mint = || {
            let server = Url::parse(&realm)
                .ok()
                .filter(|realm| matches!(realm.scheme(), "http" | "https") && realm.has_host())
                .ok_or_else(|| Error::Unauthorized {
                    what: What::new("get token", format_args!("for {}", asker.host)),
                    reason: "the token server's address (realm) is not an http or https URL".to_owned(),
                })?;
            let scopes = key.scopes.in_order(&challenged);
            Ok(minter.mint(TokenRequest { realm: server, service, scopes, credential }))
        };
        let token = self.tokens.get(key.clone(), shown, mint).await?;
        if key.scopes != *asker.scopes {
            // The next request shows the larger token at once and needs no second 401.
            self.learned.insert(asked, key.scopes);
        }
        Ok(token)
    }
}

fn header(asker: Asker<'_>, value: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(value).map_err(|_| Error::Unauthorized {
        what: What::new("authorise", asker.host),
        reason: "the credential holds characters that no header field may carry".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}
