//! Handlers made of what records remember, with the credentials of whoever asks now.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lazyblob_remote::Access;
use lazyblob_remote::provider::Origin;
use oci_spec::image::Digest;

use super::Manager;
use crate::error::Result;
use crate::handler::{DescHandler, DescHandlers};
use crate::record::{Rows, Source};

impl Manager {
    /// Handlers for those of `digests` that some record remembers a place of. No request is sent, and nobody is asked for
    /// credentials before a blob is read. `access` is only what the places are tried out with: a handler uses that of
    /// whoever reads.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata).
    pub async fn handlers_from_hints(&self, digests: &[Digest], access: &Access) -> Result<DescHandlers> {
        let remembered = self.remembered(digests).await?;
        let mut handlers = HashMap::new();
        for (digest, places) in remembered {
            let reachable = places.into_iter().find(|place| self.0.remotes.provider(place, access).is_some());
            let Some(origin) = reachable else { continue };
            handlers.insert(digest, Arc::new(self.handler_at(origin)));
        }
        Ok(handlers.into_iter().collect())
    }

    /// A handler for a place that the manager's own [`Remotes`](crate::Remotes) reach, with the credentials of whoever
    /// reads. Where they do not reach it, reading says so.
    #[must_use]
    pub fn handler_at(&self, origin: Origin) -> DescHandler {
        let (remotes, at) = (Arc::clone(&self.0.remotes), origin.clone());
        DescHandler::new(move |access| {
            remotes.provider(&at, access).unwrap_or_else(|| Arc::new(crate::remotes::Unreachable(at.clone())))
        })
        .at(origin)
    }

    /// The repositories that each of `digests` was seen in, by the records of it.
    pub(crate) async fn remembered(&self, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Origin>>> {
        let digests = digests.to_vec();
        self.read(move |rows| {
            let mut remembered = HashMap::new();
            for digest in digests {
                let mut places: BTreeSet<Source> = BTreeSet::new();
                for id in Rows::of_blob(rows, digest.as_ref())? {
                    places.extend(Rows::get(rows, &id)?.into_iter().flat_map(|record| record.sources));
                }
                if !places.is_empty() {
                    remembered.insert(digest, places.into_iter().map(Origin::from).collect());
                }
            }
            Ok(remembered)
        })
        .await
    }
}
