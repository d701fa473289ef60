//! The tables of digests of trees: shared by all who look at a tree, and kept beside its top snapshot.
//!
//! ```text
//! snapshots/KEY/fs/                 what the layer unpacks to
//!               content-TREE        the table of a tree that this layer is the top of; TREE is the sha256 of all its keys
//! ```
//! A table goes with the snapshot. It carries its own checksum: one that was not written to its end is none.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lazyblob_cache::contenthash::{ContentHash, Root, Table};
use lazyblob_cache::record::{Kind, RecordType};
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::{Error, ImmutableRef, Result};
use lazyblob_remote::{What, digest};
use tokio::sync::OnceCell;

/// How many trees are remembered while nobody asks (BuildKit's number).
const MOST: usize = 20;
/// What is kept of one tree at most, in bytes, and of how many trees with one top layer.
const BYTES: usize = 32 << 20;
const TREES: usize = 16;
const FILE: &str = "content-";

/// The tables of all trees that were asked for of late.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Share>);

#[derive(Debug, Default)]
struct Share {
    asked: u64,
    of: HashMap<String, (u64, Arc<OnceCell<ContentHash>>)>,
}

/// What is known of one tree.
#[derive(Clone, Debug)]
pub(crate) struct OfTree {
    pub(super) hash: ContentHash,
    pub(super) root: Root,
    name: Name,
}

/// What tells trees apart.
#[derive(Clone, Debug)]
struct Name {
    text: String,
    /// What it is kept beside.
    top: Option<SnapshotKey>,
}

impl Tables {
    /// What is known of a tree; who asks at the same time gets the same.
    pub(crate) async fn of(&self, tree: &ImmutableRef) -> Result<OfTree> {
        let (name, root) = (name(tree), root(tree));
        let cell = self.cell(&name.text);
        let load = async {
            let found = match name.top.clone() {
                Some(top) => read(tree, top, &name.text).await?,
                None => None,
            };
            Ok::<_, Error>(ContentHash::new(found.unwrap_or_else(|| Table::unread(root))))
        };
        let hash = cell.get_or_try_init(|| load).await?.clone();
        Ok(OfTree { hash, root, name })
    }

    /// Keeps what is known of a tree. What cannot be kept is found out again.
    pub(crate) async fn keep(&self, tree: &ImmutableRef, of: &OfTree) {
        let Some(top) = of.name.top.clone() else { return };
        let bytes = of.hash.with(|table| table.encode()).await;
        if bytes.len() > BYTES {
            return;
        }
        let (snapshots, name) = (Arc::clone(tree.manager().snapshots()), of.name.text.clone());
        let kept = blocking(move || {
            let directory = beside(&snapshots.directory(&top)?);
            write(&directory, &name, &bytes).map_err(|error| at(&directory, error))
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "what a tree contains is not kept");
        }
    }

    /// Takes the table of a tree that was just made from whoever made it.
    pub(crate) async fn tell(&self, tree: &ImmutableRef, table: Table) {
        let (name, root) = (name(tree), root(tree));
        // Nobody has asked for a tree that was just made.
        let hash = self.cell(&name.text).get_or_init(|| async { ContentHash::new(table) }).await.clone();
        self.keep(tree, &OfTree { hash, root, name }).await;
    }

    fn cell(&self, name: &str) -> Arc<OnceCell<ContentHash>> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        share.asked += 1;
        let now = share.asked;
        if !share.of.contains_key(name) && share.of.len() >= MOST {
            let oldest = share.of.iter().min_by_key(|(_, (asked, _))| *asked).map(|(name, _)| name.clone());
            oldest.and_then(|name| share.of.remove(&name));
        }
        let (asked, cell) = share.of.entry(name.to_owned()).or_default();
        *asked = now;
        Arc::clone(cell)
    }
}

/// What the root of a tree counts for: a local directory's own nothing, as its sender does not send it. What was built on
/// one is a snapshot like any other.
fn root(tree: &ImmutableRef) -> Root {
    let record = tree.record();
    let is_sent =
        record.record_type == RecordType::SourceLocal && record.kind == Kind::Layer { parent: None };
    if is_sent { Root::Local } else { Root::Snapshot }
}

/// Trees of the same layers are the same, whoever made them.
fn name(tree: &ImmutableRef) -> Name {
    let layers = tree.layers();
    let keys: Option<Vec<_>> = layers.iter().map(|layer| layer.record().snapshot.clone()).collect();
    match keys.filter(|keys| !keys.is_empty()) {
        Some(keys) => {
            let kind = if root(tree) == Root::Local { "local" } else { "snapshot" };
            let all: Vec<&str> = std::iter::once(kind).chain(keys.iter().map(SnapshotKey::as_str)).collect();
            let text = digest::sha256(all.join("\n").as_bytes()).digest().to_owned();
            Name { text, top: keys.last().cloned() }
        }
        None => Name { text: tree.id().to_string(), top: None },
    }
}

async fn read(tree: &ImmutableRef, top: SnapshotKey, name: &str) -> Result<Option<Table>> {
    let (snapshots, file) = (Arc::clone(tree.manager().snapshots()), format!("{FILE}{name}"));
    blocking(move || {
        let directory = match snapshots.directory(&top) {
            // It is not unpacked.
            Err(error) if error.is_not_found() => return Ok(None),
            directory => beside(&directory?),
        };
        match fs::read(directory.join(file)) {
            // What is damaged is read anew.
            Ok(bytes) => Ok(Table::decode(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&directory, error)),
        }
    })
    .await
}

/// Replaces the table of a tree.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let file = format!("{FILE}{name}");
    if !directory.join(&file).exists() {
        let others = fs::read_dir(directory)?.filter_map(io::Result::ok);
        let others = others.filter(|entry| entry.file_name().to_string_lossy().starts_with(FILE));
        if others.count() >= TREES {
            return Ok(());
        }
    }
    let unique = format!(".{file}.{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let new = directory.join(unique);
    let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, directory.join(&file)));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Where what belongs to a snapshot lies.
pub(crate) fn beside(snapshot: &Path) -> PathBuf {
    snapshot.parent().unwrap_or(snapshot).to_owned()
}

fn at(directory: &Path, source: io::Error) -> Error {
    let what = What::new("keep what is known of", directory.display());
    Error::Io { what, path: directory.to_owned(), source }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled { what: What::new("look at", "a tree") }),
        },
    }
}
