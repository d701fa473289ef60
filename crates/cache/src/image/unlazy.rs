//! All blobs of an image, here.

use lazyblob_remote::Access;

use super::open::Image;
use crate::error::{Error, Missing, Result};
use crate::manager::Manager;

impl Manager {
    /// Brings all blobs that an image's manifest names here, those of what is no image of files among them. Returns how
    /// many were fetched.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::unlazy`](crate::ImmutableRef::unlazy).
    pub async fn unlazy_image(&self, image: &Image, access: &Access) -> Result<usize> {
        if let Some(top) = &image.top {
            return top.unlazy(access).await;
        }
        let mut wanted = Vec::new();
        for (height, blob) in image.manifest.child_blobs().into_iter().enumerate() {
            if self.store().holds(blob).await? {
                continue;
            }
            let mut places = self.seen_at(blob.digest()).await?;
            places.extend(self.seen_at(image.manifest.digest()).await?);
            let sources: Vec<_> =
                places.iter().filter_map(|place| self.0.remotes.provider(place, access)).collect();
            wanted.push((blob, sources, height, places));
        }
        let missing: Vec<Missing> = wanted
            .iter()
            .filter(|(_, sources, ..)| sources.is_empty())
            .map(|(blob, _, _, places)| Missing { descriptor: (*blob).clone(), hints: places.clone() })
            .collect();
        if !missing.is_empty() {
            return Err(Error::NeedsRemoteProviders { missing });
        }
        let bringing = wanted.into_iter().map(|(blob, sources, height, _)| async move {
            let _pin = self.pin_blob(blob.digest())?;
            self.bring(blob, sources, height, access).await
        });
        let brought = futures::future::try_join_all(bringing).await?;
        Ok(brought.iter().filter(|unlazied| unlazied.fetched).count())
    }
}
