//! Cross-repository mounts: a blob changes repository without moving.

use http::{Method, StatusCode};
use oci_spec::image::Descriptor;

use super::Repository;
use super::exchange::Call;
use super::upload;
use crate::endpoint::Mounted;
use crate::error::{Error, Result};
use crate::request::Kind;

impl Repository {
    /// Asks the registry to mount `blob` from its repository `from`: one POST, no HEAD before it (201 is idempotent).
    /// A 202 is a refusal that has opened an upload session; it comes back so that it can be used. A 401 or 403, or
    /// any other refusal, only means that the blob must go another way.
    ///
    /// # Errors
    /// Those of the way.
    pub async fn mount_blob(&self, blob: &Descriptor, from: &str) -> Result<Mounted> {
        let what = self.about_blob("mount blob", blob);
        let mut url = self.url(&self.host.upstream, "blobs/uploads/", &what)?;
        url.query_pairs_mut().append_pair("mount", blob.digest().as_ref()).append_pair("from", from);
        let call = Call::new(Kind::Mount, Method::POST, what.clone());
        let answer = match self.exchange(&self.host.upstream, url, call).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.root(), Error::Unauthorized { .. }) => {
                tracing::debug!(blob = %blob.digest(), from, %error, "mount refused");
                return Ok(Mounted::No { session: None });
            }
            Err(error) => return Err(error),
        };
        match answer.status {
            StatusCode::CREATED => {
                answer.discard().await;
                Ok(Mounted::Yes)
            }
            StatusCode::ACCEPTED => {
                let session = upload::location(&answer).map(String::from);
                self.facts().set_chunk_minimum(upload::chunk_minimum(&answer));
                answer.discard().await;
                Ok(Mounted::No { session })
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let error = answer.into_error(what).await;
                tracing::debug!(%error, from, "mount refused");
                Ok(Mounted::No { session: None })
            }
            _ => Err(answer.into_error(what).await),
        }
    }
}
