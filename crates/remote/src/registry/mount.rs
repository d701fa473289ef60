//! Cross-repository mounts: a blob changes repository without moving.

use http::{Method, StatusCode};
use oci_spec::image::Descriptor;

use super::Repository;
use super::exchange::Call;
use super::upload;
use crate::endpoint::{Mounted, Mounting};
use crate::error::{Error, Result};
use crate::keychain::Credential;
use crate::provider::Origin;
use crate::request::Kind;

/// A host's answer to one mount.
enum Outcome {
    Mounted,
    Refused {
        /// Address of the session that it opened instead.
        session: Option<String>,
        /// It wants credentials, and there are none: of the blob it has said nothing.
        unheard: bool,
    },
}

impl Repository {
    /// Asks the registry to mount `blob` from its repository `from`: one POST, no HEAD before it (201 is idempotent).
    /// A 202 is a refusal that has opened an upload session; it comes back so that it can be used. A 401 or 403, or
    /// any other refusal, only means that the blob must go another way.
    ///
    /// # Errors
    /// Those of the way.
    pub async fn mount_blob(&self, blob: &Descriptor, from: &str) -> Result<Mounted> {
        Ok(match self.ask_mount(blob, from).await? {
            Outcome::Mounted => Mounted::Yes,
            Outcome::Refused { session, .. } => Mounted::No { session },
        })
    }

    /// Asks for mounts from `places` in turn, each with the ladder of retries. Of the sessions that refusals open the
    /// last one is kept; the others would only be in the host's way.
    pub(super) async fn mount_in_turn(&self, blob: &Descriptor, places: &[Origin]) -> Result<Mounting> {
        let mut mounting = Mounting::default();
        for place in places {
            match self.asked(|| self.ask_mount(blob, &place.repository)).await {
                Ok(Outcome::Mounted) => {
                    mounting.from = Some(place.clone());
                    break;
                }
                Ok(Outcome::Refused { session, unheard }) => {
                    if !unheard {
                        mounting.stale.push(place.clone());
                    }
                    let Some(session) = session else { continue };
                    if let Some(earlier) = mounting.session.replace(session) {
                        self.abandon_session(blob, &earlier).await;
                    }
                }
                Err(error) => {
                    if let Some(session) = mounting.session.filter(|_| !error.is_transient()) {
                        self.abandon_session(blob, &session).await;
                    }
                    return Err(error);
                }
            }
        }
        if mounting.from.is_some()
            && let Some(session) = mounting.session.take()
        {
            self.abandon_session(blob, &session).await;
        }
        Ok(mounting)
    }

    /// Closes a session that a refused mount opened.
    pub(super) async fn abandon_session(&self, blob: &Descriptor, session: &str) {
        if let Ok(session) = self.resume_session(blob, session) {
            self.cancel_upload(blob, &session).await;
        }
    }

    async fn ask_mount(&self, blob: &Descriptor, from: &str) -> Result<Outcome> {
        let what = self.about_blob("mount blob", blob);
        let mut url = self.url(&self.host.upstream, "blobs/uploads/", &what)?;
        url.query_pairs_mut().append_pair("mount", blob.digest().as_ref()).append_pair("from", from);
        let call = Call::new(Kind::Mount, Method::POST, what.clone());
        let answer = match self.exchange(&self.host.upstream, url, call).await {
            Ok(answer) => answer,
            // A 401, after whatever credentials there are were shown.
            Err(error) if matches!(error.root(), Error::Unauthorized { .. }) => {
                tracing::debug!(blob = %blob.digest(), from, %error, "mount refused");
                return Ok(Outcome::Refused { session: None, unheard: self.is_anonymous().await });
            }
            Err(error) => return Err(error),
        };
        match answer.status {
            StatusCode::CREATED => {
                answer.discard().await;
                Ok(Outcome::Mounted)
            }
            StatusCode::ACCEPTED => {
                let session = upload::location(&answer).map(String::from);
                self.facts().set_chunk_minimum(upload::chunk_minimum(&answer));
                answer.discard().await;
                Ok(Outcome::Refused { session, unheard: false })
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let error = answer.into_error(what).await;
                tracing::debug!(%error, from, "mount refused");
                Ok(Outcome::Refused { session: None, unheard: false })
            }
            _ => Err(answer.into_error(what).await),
        }
    }

    async fn is_anonymous(&self) -> bool {
        let credential = self.access.keychain.credential(&self.credential_host(), self.name.path()).await;
        matches!(credential, Ok(Credential::Anonymous))
    }
}
