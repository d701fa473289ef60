//! What there is of an image, found out without a request and without using it.

use std::collections::HashSet;
use std::sync::Arc;

use lazyblob_remote::endpoint::{Name, Source};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Manifest, Reference, What};
use oci_spec::image::{Descriptor, Digest};

use super::MAX_DEPTH;
use super::config::Config;
use crate::blocking::blocking;
use crate::chain::{BlobChainId, ChainId, Chains};
use crate::error::Result;
use crate::manager::Manager;
use crate::record::{LastUse, LayerBlob, Rows};
use crate::snapshot::SnapshotKey;

/// What there is of what has a name.
#[derive(Clone, Debug)]
pub struct About {
    /// The name.
    pub reference: Reference,
    /// The manifest that has it.
    pub root: Manifest,
    /// Manifests of the root, or below it, that are no indexes and are here.
    pub images: Vec<AboutImage>,
    /// Manifests below the root that are not here.
    pub absent: Vec<Descriptor>,
    /// Repositories the root was seen in, the last one first.
    pub sources: Vec<Origin>,
}

/// What there is of one manifest.
#[derive(Clone, Debug)]
pub struct AboutImage {
    /// The manifest.
    pub manifest: Manifest,
    /// The platform, by the entry of the index or else by the config; nothing where neither says.
    pub platform: Option<String>,
    /// Its config, if it names one.
    pub config: Option<AboutBlob>,
    /// Why its config, which is here, cannot be read.
    pub damage: Option<String>,
    /// Its layers, or whatever else it names in their place, the bottom one first.
    pub layers: Vec<AboutBlob>,
    /// When the record of its top layer was made, in milliseconds since 1970; nothing where there is none.
    pub created: Option<u64>,
    /// When and how often that was used.
    pub used: Option<LastUse>,
}

/// What there is of a blob.
#[derive(Clone, Debug)]
pub struct AboutBlob {
    /// The blob.
    pub descriptor: Descriptor,
    /// What it uncompresses to, if it is a layer of an image of files.
    pub diff_id: Option<Digest>,
    /// Its bytes are here.
    pub local: bool,
    /// It is unpacked.
    pub unpacked: bool,
    /// Repositories it was seen in.
    pub sources: Vec<Origin>,
}

impl About {
    /// Bytes of its distinct manifests and blobs, as far as is known, and of those of them that are not here.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        let mut seen: HashSet<&Digest> = HashSet::new();
        let (mut all, mut lazy) = (0_u64, 0_u64);
        let mut add = |descriptor, is_here| {
            let descriptor: &Descriptor = descriptor;
            if seen.insert(descriptor.digest()) {
                all = all.saturating_add(descriptor.size());
                lazy = lazy.saturating_add(if is_here { 0 } else { descriptor.size() });
            }
        };
        add(self.root.descriptor(), true);
        for image in &self.images {
            add(image.manifest.descriptor(), true);
            for blob in image.config.iter().chain(&image.layers) {
                add(&blob.descriptor, blob.local);
            }
        }
        for manifest in &self.absent {
            add(manifest, false);
        }
        (all, lazy)
    }
}

impl Manager {
    /// What there is of the image called `reference`. Sends no request, fetches nothing, and does not count as a use.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for a name that is not here; [`Error::Remote`](crate::Error::Remote)
    /// for a manifest that is damaged.
    pub async fn about(&self, reference: &Reference) -> Result<About> {
        let root = self.root_manifest(reference).await?;
        let (mut images, mut absent) = (Vec::new(), Vec::new());
        let mut seen: HashSet<Digest> = HashSet::from([root.digest().clone()]);
        let mut waiting = vec![(root.clone(), None, 0)];
        while let Some((manifest, platform, depth)) = waiting.pop() {
            let children = manifest.child_manifests();
            if children.is_empty() || depth >= MAX_DEPTH {
                images.push(self.about_image(manifest, platform).await?);
                continue;
            }
            let mut below = Vec::new();
            for child in children {
                if !seen.insert(child.digest().clone()) {
                    continue;
                }
                let name = Name::Digest(child.digest().clone());
                match Source::manifest(self.store().layout(), &name).await {
                    Ok(found) => below.push((found, platform_of(child), depth + 1)),
                    Err(error) if error.is_not_found() => absent.push(child.clone()),
                    Err(error) => return Err(error.into()),
                }
            }
            // Taken from the end: in the order of the index.
            waiting.extend(below.into_iter().rev());
        }
        let sources = self.seen_at(root.digest()).await?;
        Ok(About { reference: reference.clone(), root, images, absent, sources })
    }

    async fn about_image(&self, manifest: Manifest, platform: Option<String>) -> Result<AboutImage> {
        let config = match manifest.config() {
            Some(config) => Some(self.about_blob(config, None).await?),
            None => None,
        };
        let mut damage = None;
        let read = match manifest.config().filter(|_| Config::belongs_to(&manifest)) {
            Some(descriptor) if config.as_ref().is_some_and(|config| config.local) => {
                let read = self.read_config(descriptor).await;
                read.map_err(|error| damage = Some(error.to_string())).ok()
            }
            _ => None,
        };
        let files = read.as_ref().and_then(|config| config.layers(&manifest).ok());
        let mut layers = Vec::new();
        let mut chains: Option<Chains> = None;
        match &files {
            Some(files) => {
                for LayerBlob { descriptor, diff_id } in files {
                    let up = Chains::on(chains.as_ref(), descriptor.digest(), diff_id);
                    let mut layer = self.about_blob(descriptor, Some(&up.chain)).await?;
                    layer.diff_id = Some(diff_id.clone());
                    layers.push(layer);
                    chains = Some(up);
                }
            }
            None => {
                let own = manifest.config().map(Descriptor::digest);
                for blob in manifest.child_blobs() {
                    if Some(blob.digest()) != own {
                        layers.push(self.about_blob(blob, None).await?);
                    }
                }
            }
        }
        let said = read.map(|config| format!("{}/{}", config.os, config.architecture));
        let platform = platform.or(said.filter(|platform| platform.len() > 1));
        let (created, used) = match chains {
            Some(chains) => self.history(chains.blobs).await?,
            None => (None, None),
        };
        Ok(AboutImage { manifest, platform, config, damage, layers, created, used })
    }

    async fn about_blob(&self, blob: &Descriptor, chain: Option<&ChainId>) -> Result<AboutBlob> {
        let unpacked = match chain.map(SnapshotKey::chain) {
            Some(key) => {
                let snapshots = Arc::clone(self.snapshots());
                let what = What::new("find snapshot", &key);
                blocking(|| what, move || Ok(snapshots.info(&key)?.is_some())).await?
            }
            None => false,
        };
        Ok(AboutBlob {
            descriptor: blob.clone(),
            diff_id: None,
            local: self.store().holds(blob).await?,
            unpacked,
            sources: self.seen_at(blob.digest()).await?,
        })
    }

    /// When the record of a chain was made, and when it was used.
    async fn history(&self, chain: BlobChainId) -> Result<(Option<u64>, Option<LastUse>)> {
        self.read(move |rows| {
            for id in Rows::of_blob_chain(rows, &chain.to_string())? {
                if let Some(record) = Rows::get(rows, &id)? {
                    return Ok((Some(record.created), Rows::last_use(rows, &id)?));
                }
            }
            Ok((None, None))
        })
        .await
    }
}

fn platform_of(entry: &Descriptor) -> Option<String> {
    let platform = entry.platform().as_ref()?;
    let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    Some(format!("{}/{}{variant}", platform.os(), platform.architecture()))
}
