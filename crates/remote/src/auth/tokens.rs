//! Tokens kept, and minted once however many ask for them.

use std::sync::Arc;

use dashmap::DashMap;
use futures::future::BoxFuture;
use lazyblob_flightcontrol::{Error as FlightError, Failure, Group};
use tokio::time::Instant;

use super::{Scopes, Token};
use crate::error::{Error, Result, What};

/// One token per server, service, scope set and credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scopes: Scopes,
    pub(super) credential: u64,
}

/// The tokens of a run.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    kept: Arc<DashMap<TokenKey, Token>>,
    minting: Group<TokenKey, Token, Error>,
}

impl Tokens {
    /// The token for `key`: the one kept, unless it has expired or is `refused`, else the one that `mint` brings. Who asks
    /// for the same meanwhile waits for it; it is minted for all of them, whoever leaves.
    pub(super) async fn get(
        &self,
        key: TokenKey,
        refused: Option<&str>,
        mint: impl FnOnce() -> Result<BoxFuture<'static, Result<Token>>>,
    ) -> Result<Token> {
        if let Some(token) = usable(&self.kept, &key, refused) {
            return Ok(token);
        }
        let (minted, kept, known, refused) =
            (mint()?, Arc::clone(&self.kept), key.clone(), refused.map(str::to_owned));
        let what = What::new("get token", format_args!("from {}", key.realm));
        let outcome = self.minting.run(key, move |flight| async move {
            // Another flight may have landed since this caller looked.
            if let Some(token) = usable(&kept, &known, refused.as_deref()) {
                return Ok(token);
            }
            tokio::select! {
                biased;
                () = flight.cancelled() => Err(Failure::Shared(Error::Cancelled { what })),
                minted = minted => {
                    let token = minted.map_err(Failure::Shared)?;
                    kept.insert(known, token.clone());
                    Ok(token)
                }
            }
        });
        outcome.await.map_err(|error| match error {
            // Alone with it, or one of many: the error is the same.
            FlightError::Failed(error) => Arc::try_unwrap(error).unwrap_or_else(Error::Shared),
            FlightError::Personal(error) => error,
            other => Error::Unavailable {
                what: What::new("get token", "for several requests at once"),
                reason: other.to_string(),
                retry_after: None,
                transient: false,
            },
        })
    }

    /// Waits until nothing is being minted any more.
    pub(super) async fn close(&self) {
        self.minting.close().await;
    }
}

fn usable(kept: &DashMap<TokenKey, Token>, key: &TokenKey, refused: Option<&str>) -> Option<Token> {
    let token = kept.get(key)?;
    let usable = token.expires > Instant::now() && refused != Some(token.secret.expose());
    usable.then(|| token.clone())
}
