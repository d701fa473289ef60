//! What names stand for is here, or it is known where it is.

use std::collections::HashSet;

use lazyblob_remote::endpoint::{Name, Source};
use lazyblob_remote::layout::Layout;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Manifest, Reference};
use oci_spec::image::{Descriptor, Digest};

use super::{Check, Object, Repair};
use crate::blocking::blocking;
use crate::error::{Result, What};
use crate::image::{Config, MAX_DEPTH, StoreSource};

/// A name being looked through.
struct Named {
    tag: String,
    reference: Option<Reference>,
    /// Where what it stands for was seen.
    places: Vec<Origin>,
}

impl Check<'_> {
    pub(super) async fn names(&mut self) -> Result<()> {
        let roots = match self.manager.store().layout().roots().await {
            Ok(roots) => roots,
            Err(error) => {
                let repair = if self.repairs() { self.new_index().await? } else { Repair::NotAsked };
                self.problem(Object::Name("index.json".to_owned()), error.to_string(), repair);
                return Ok(());
            }
        };
        for (tag, root) in roots {
            let Some(tag) = tag else { continue };
            self.found.names += 1;
            let places = self.manager.seen_at(root.digest()).await?;
            let named = Named { reference: tag.parse().ok(), tag, places };
            self.name(&named, &root).await?;
        }
        Ok(())
    }

    /// Begins a new index, so that names can be given again. The blobs are as they were.
    async fn new_index(&self) -> Result<Repair> {
        let store = self.manager.store().layout().root().to_owned();
        let (trash, index) = (self.manager.root().trash().clone(), store.join("index.json"));
        blocking(|| What::new("set aside", index.display()), {
            let index = index.clone();
            move || trash.put(&index).map(drop)
        })
        .await?;
        // Another handle: this one believes that there is an index.
        Layout::open(store).await?.create().await?;
        Ok(Repair::Impossible(
            "a new one is begun; which names there were is lost: pull them again".to_owned(),
        ))
    }

    async fn name(&mut self, named: &Named, root: &Descriptor) -> Result<()> {
        let mut waiting = vec![(root.digest().clone(), 0)];
        let mut seen: HashSet<Digest> = HashSet::new();
        while let Some((digest, depth)) = waiting.pop() {
            if depth > MAX_DEPTH || !seen.insert(digest.clone()) || self.facts.bad.contains(&digest) {
                continue;
            }
            let layout = self.manager.store().layout();
            let manifest = match Source::manifest(layout, &Name::Digest(digest.clone())).await {
                Ok(manifest) => manifest,
                // A child of another platform comes when it is asked for.
                Err(error) if error.is_not_found() => {
                    if depth == 0 || !self.is_known(named, &digest).await? {
                        let repair = self.fetch(named, &digest).await?;
                        self.problem(object(named), format!("its manifest {digest} is missing"), repair);
                    }
                    continue;
                }
                Err(error) => {
                    let lost = Repair::Impossible("it is what its digest says, and no manifest".to_owned());
                    let repair = if self.repairs() { lost } else { Repair::NotAsked };
                    self.problem(object(named), error.to_string(), repair);
                    continue;
                }
            };
            let children = manifest.child_manifests().into_iter();
            waiting.extend(children.map(|child| (child.digest().clone(), depth + 1)));
            self.image(named, &manifest).await?;
        }
        Ok(())
    }

    /// The config and the layers of one image.
    async fn image(&mut self, named: &Named, manifest: &Manifest) -> Result<()> {
        let Some(config) = manifest.config().filter(|_| Config::belongs_to(manifest)).cloned() else {
            return Ok(());
        };
        if self.facts.bad.contains(config.digest()) {
            return Ok(());
        }
        if self.tells_other_size(named, &config) {
            return Ok(());
        }
        if !self.manager.store().holds(&config).await? {
            if !self.is_known(named, config.digest()).await? {
                let lost = Repair::Impossible("nothing is known of where else it is".to_owned());
                let repair = if self.repairs() { lost } else { Repair::NotAsked };
                self.problem(object(named), format!("its config {} is missing", config.digest()), repair);
            }
            return Ok(());
        }
        let layers = match self.manager.read_config(&config).await {
            Ok(read) => read.layers(manifest),
            Err(error) => Err(error),
        };
        let layers = match layers {
            Ok(layers) => layers,
            Err(error) => {
                let lost = Repair::Impossible("nobody can tell what it was to be".to_owned());
                let repair = if self.repairs() { lost } else { Repair::NotAsked };
                self.problem(object(named), error.to_string(), repair);
                return Ok(());
            }
        };
        for layer in layers {
            let digest = layer.descriptor.digest();
            if self.tells_other_size(named, &layer.descriptor) {
                continue;
            }
            let has_tree = self.facts.of_blob(digest).any(|record| {
                record.snapshot.as_ref().is_some_and(|key| self.facts.snapshots.contains_key(key))
            });
            if has_tree
                || self.manager.store().holds(&layer.descriptor).await?
                || self.is_known(named, digest).await?
                || layer.descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty())
            {
                continue;
            }
            let lost = Repair::Impossible("nothing is known of where else it is".to_owned());
            let repair = if self.repairs() { lost } else { Repair::NotAsked };
            self.problem(object(named), format!("its layer {digest} is lost"), repair);
        }
        Ok(())
    }

    /// Whether a manifest says another size of a blob than that which has its digest: then the manifest is wrong.
    fn tells_other_size(&mut self, named: &Named, blob: &Descriptor) -> bool {
        let Some(size) = self.facts.good.get(blob.digest()).copied().filter(|size| *size != blob.size())
        else {
            return false;
        };
        let lost = Repair::Impossible("its manifest was made so: remove the name".to_owned());
        let repair = if self.repairs() { lost } else { Repair::NotAsked };
        let (digest, said) = (blob.digest(), blob.size());
        self.problem(
            object(named),
            format!("it says that {digest} has {said} bytes, and it has {size}"),
            repair,
        );
        true
    }

    /// Whether it is known where `digest` is.
    async fn is_known(&self, named: &Named, digest: &Digest) -> Result<bool> {
        Ok(!named.places.is_empty() || !self.manager.seen_at(digest).await?.is_empty())
    }

    /// Brings a manifest back.
    async fn fetch(&self, named: &Named, digest: &Digest) -> Result<Repair> {
        if !self.repairs() {
            return Ok(Repair::NotAsked);
        }
        let Some(reference) = &named.reference else {
            return Ok(Repair::Impossible("nothing is known of where else it is".to_owned()));
        };
        let fetched = async {
            let source = StoreSource::new(self.manager, reference, self.access, None).await?;
            Source::manifest(&source, &Name::Digest(digest.clone())).await
        };
        Ok(match self.cancel.run_until_cancelled(fetched).await {
            Some(Ok(_)) => Repair::Done("it is fetched again".to_owned()),
            Some(Err(error)) => Repair::Impossible(error.to_string()),
            None => Repair::NotAsked,
        })
    }

    /// All blobs that names refer to, as far as manifests are here.
    pub(super) async fn named(&self) -> Result<HashSet<Digest>> {
        let layout = self.manager.store().layout();
        let Ok(roots) = layout.roots().await else { return Ok(HashSet::new()) };
        let mut waiting: Vec<Digest> = roots.into_iter().map(|(_, root)| root.digest().clone()).collect();
        let mut seen = HashSet::new();
        while let Some(digest) = waiting.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            let Ok(manifest) = Source::manifest(layout, &Name::Digest(digest)).await else { continue };
            waiting.extend(manifest.child_manifests().into_iter().map(|child| child.digest().clone()));
            seen.extend(manifest.child_blobs().into_iter().map(|blob| blob.digest().clone()));
        }
        Ok(seen)
    }
}

fn object(named: &Named) -> Object {
    Object::Name(named.tag.clone())
}
