//! What is learned of an image when it has gone somewhere, or come from somewhere.

use std::sync::Arc;

use lazyblob_remote::Manifest;
use lazyblob_remote::endpoint::{Name, Source};
use lazyblob_remote::provider::Origin;
use oci_spec::image::Digest;

use super::MAX_DEPTH;
use super::config::Config;
use super::origins::Origins;
use super::pull::is_remote;
use crate::error::Result;
use crate::manager::Manager;
use crate::manager::live::Table;
use crate::metadata::Transaction;
use crate::record::{self, RecordType, Rows};
use crate::root::{Pin, Pinned};

impl Manager {
    /// `origin` has all of what `root` names: its manifests, configs and layers are remembered to be there, as far as they
    /// are known here. A later push there, or a mount from there, need not ask. Only a name of a registry's is worth
    /// remembering; no credentials are.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata), [`Error::Io`](crate::Error::Io).
    pub async fn pushed_to(&self, root: &Digest, origin: &Origin) -> Result<()> {
        if !is_remote(origin) {
            return Ok(());
        }
        let manifests = self.manifests_below(root).await?;
        let mut digests: Vec<Digest> = manifests.iter().map(|manifest| manifest.digest().clone()).collect();
        let blobs = manifests.iter().flat_map(Manifest::child_blobs).map(|blob| blob.digest().clone());
        let blobs: Vec<Digest> = blobs.collect();
        let (origin, table) = (origin.clone(), Arc::clone(&self.0.table));
        self.write(move |rows| {
            let place = record::Source::from(origin.clone());
            for blob in blobs {
                if !note_layer(rows, &table, &blob, &place)? {
                    digests.push(blob);
                }
            }
            digests.iter().try_for_each(|digest| Origins::add(rows, digest, &origin))
        })
        .await
    }

    /// `origin` has these layers: it is remembered of those of them that have records. For what was pushed without a name
    /// here; no manifest is looked for.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata).
    pub async fn layers_pushed_to(&self, layers: Vec<Digest>, origin: &Origin) -> Result<()> {
        if !is_remote(origin) || layers.is_empty() {
            return Ok(());
        }
        let (place, table) = (record::Source::from(origin.clone()), Arc::clone(&self.0.table));
        self.write(move |rows| {
            for layer in layers {
                note_layer(rows, &table, &layer, &place)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes records of the layers of all images of files that `root` names and that are here, as a pull does: for what
    /// came into the store by another way.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a config that does not fit its manifest;
    /// [`Error::NeedsRemoteProviders`](crate::Error::NeedsRemoteProviders) for layers that are neither here nor anywhere
    /// else that is known; [`Error::Metadata`](crate::Error::Metadata).
    pub async fn make_records(&self, reference: &lazyblob_remote::Reference, root: &Digest) -> Result<()> {
        for manifest in self.manifests_below(root).await? {
            let Some(config) = manifest.config().filter(|_| Config::belongs_to(&manifest)) else { continue };
            if self.store().holds(config).await? {
                self.image_of(reference, vec![manifest], None, RecordType::Regular).await?;
            }
        }
        Ok(())
    }

    /// Keeps what the manifest called `root` names from being pruned.
    pub(super) async fn pin_all_below(&self, root: &Digest) -> Result<Pinned> {
        let mut pins = vec![Pin::Blob(root.clone())];
        for manifest in self.manifests_below(root).await? {
            pins.push(Pin::Blob(manifest.digest().clone()));
            pins.extend(manifest.child_blobs().into_iter().map(|blob| Pin::Blob(blob.digest().clone())));
        }
        self.root().live().pin(&pins)
    }

    /// The manifest called `root` and all below it that are here.
    async fn manifests_below(&self, root: &Digest) -> Result<Vec<Manifest>> {
        let mut found: Vec<Manifest> = Vec::new();
        let mut waiting = vec![(root.clone(), 0)];
        while let Some((digest, depth)) = waiting.pop() {
            if depth > MAX_DEPTH || found.iter().any(|known| *known.digest() == digest) {
                continue;
            }
            match Source::manifest(self.store().layout(), &Name::Digest(digest)).await {
                Ok(manifest) => {
                    let below = manifest.child_manifests().into_iter();
                    waiting.extend(below.map(|child| (child.digest().clone(), depth + 1)));
                    found.push(manifest);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

/// The records of a blob say where it was seen. Says whether there are any.
fn note_layer(
    rows: &mut Transaction<'_>,
    table: &Table,
    blob: &Digest,
    place: &record::Source,
) -> Result<bool> {
    let ids = Rows::of_blob(rows, blob.as_ref())?;
    for id in &ids {
        let Some(mut record) = Rows::get(rows, id)? else { continue };
        if record.seen(None, std::slice::from_ref(place)) {
            Rows::put(rows, &record)?;
            if let Some(live) = table.get(id) {
                live.update(record);
            }
        }
    }
    Ok(!ids.is_empty())
}
