//! Checking credentials: the only request to `/v2/` itself, and only for somebody who logs in.

use http::{Method, StatusCode};
use url::Url;

use super::Registry;
use super::exchange::Call;
use crate::access::Access;
use crate::auth::Scopes;
use crate::error::{Error, Result, What};
use crate::reference::RepositoryName;
use crate::request::Kind;

impl Registry {
    /// Asks `host` (`HOST[:PORT]`) whether it takes the credentials of `access`. Says whether it wanted to see any.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where it does not, and those of the way.
    pub async fn check_login(&self, host: &str, access: &Access) -> Result<bool> {
        let what = What::new("log in to", host);
        let repository = self.repository(&RepositoryName::of_registry(host)?, Scopes::default(), access)?;
        let at = &repository.host().upstream;
        let url = Url::parse(&format!("{}/", at.base))
            .map_err(|error| Error::invalid(what.operation, &what.object, error))?;
        let answer = repository.exchange(at, url, Call::new(Kind::Other, Method::GET, what.clone())).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.into_error(what).await);
        }
        answer.discard().await;
        Ok(self.0.authority.knows(&at.base))
    }
}
