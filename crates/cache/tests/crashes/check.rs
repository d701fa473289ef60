//! What must be so after a crash, whatever was killed when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::record::{Kind, Record};
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::testing::tree::{Kind as FileKind, Tree};
use lazyblob_cache::{BlobChainId, ChainId, Error, GetOptions, ImmutableRef, Manager, RecordId};
use lazyblob_remote::{Access, Descriptor, Reference, digest};
use tokio_util::sync::CancellationToken;

use crate::oracle::{Fact, Oracle};
use crate::support::{World, assembled, keys};

/// What has happened to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// It was killed: whatever was written is there.
    Kill,
    /// What was not synced is gone.
    Power,
}

/// Holds the root against what is known of it. Returns what the user was told when it was opened.
pub(crate) async fn check(
    world: &World,
    manager: &Manager,
    oracle: &mut Oracle,
    crash: Crash,
) -> Vec<String> {
    let notices = manager.database().take_notices();
    if crash == Crash::Kill {
        assert_eq!(notices, [""; 0], "nothing has to be mended after a kill");
    }
    blobs_are_what_they_are_called(manager).await;
    names_are_as_said(manager, oracle).await;
    let records = records_fit(manager).await;
    snapshots_are_whole(world, manager);
    for fact in &oracle.facts {
        holds(world, manager, &records, fact, crash).await;
    }
    notices
}

async fn blobs_are_what_they_are_called(manager: &Manager) {
    for blob in manager.store().list().unwrap() {
        let descriptor = Descriptor::new("a blob".into(), blob.size, blob.digest);
        manager.store().verify_blob(&descriptor, &CancellationToken::new()).unwrap();
    }
}

/// Each name is there that must be, stands for what it may, and can be opened without the network.
async fn names_are_as_said(manager: &Manager, oracle: &mut Oracle) {
    let names = manager.names().await.unwrap().into_iter();
    let names: BTreeMap<String, String> =
        names.map(|named| (named.reference.to_string(), named.root.digest().to_string())).collect();
    for name in names.keys() {
        assert!(oracle.names.contains_key(name), "nobody made {name}");
    }
    for (name, possible) in &mut oracle.names {
        let found = names.get(name).cloned();
        assert!(possible.contains(&found), "{name} is {found:?}, and may be {possible:?}");
        *possible = BTreeSet::from([found]);
    }
    for name in names.keys() {
        let reference: Reference = name.parse().unwrap();
        let image = manager.open_image(&reference, None, &Access::anonymous()).await.unwrap();
        assert_eq!(image.layers.len(), 3);
    }
}

/// Whatever records there are say the truth of each other.
async fn records_fit(manager: &Manager) -> HashMap<RecordId, Record> {
    let records: HashMap<RecordId, Record> = manager
        .usage(&[])
        .await
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| (entry.record.id.clone(), entry.record))
        .collect();
    for record in records.values() {
        let parents: Vec<&Record> = record
            .kind
            .parents()
            .map(|parent| {
                records
                    .get(parent)
                    .unwrap_or_else(|| panic!("{parent} is gone, and {} stands on it", record.id))
            })
            .collect();
        if let Some(twin) = record.twin.as_ref().filter(|_| !record.mutable) {
            assert!(records[twin].mutable, "{} has a tree that is nobody's", record.id);
        }
        let Kind::Layer { .. } = record.kind else { continue };
        let Some((blob, (chain, blob_chain))) =
            record.blob.as_ref().zip(record.chain.as_ref().zip(record.blob_chain.as_ref()))
        else {
            assert_eq!((&record.chain, &record.blob_chain), (&None, &None), "{}", record.id);
            continue;
        };
        let (digest, diff_id) = (blob.descriptor.digest(), &blob.diff_id);
        let expected = match parents.first() {
            None => (ChainId::base(diff_id), BlobChainId::base(digest, diff_id)),
            Some(below) => (
                below.chain.as_ref().unwrap().with(diff_id),
                below.blob_chain.as_ref().unwrap().with(digest, diff_id),
            ),
        };
        assert_eq!((chain, blob_chain), (&expected.0, &expected.1), "{}", record.id);
    }
    records
}

/// A snapshot that can be seen is whole, whether anybody said so or not.
fn snapshots_are_whole(world: &World, manager: &Manager) {
    let seen: BTreeSet<SnapshotKey> =
        manager.snapshots().list().unwrap().into_iter().map(|info| info.key).collect();
    for digest in world.digests() {
        let stack: Vec<SnapshotKey> = world.chains(&digest).iter().map(SnapshotKey::chain).collect();
        let height = stack.iter().take_while(|key| seen.contains(key)).count();
        if let Some(top) = stack[..height].last() {
            assembled(manager, &stack[..height]).assert_equals(&world.trees[&top.as_chain().unwrap()]);
        }
    }
}

async fn holds(
    world: &World,
    manager: &Manager,
    records: &HashMap<RecordId, Record>,
    fact: &Fact,
    crash: Crash,
) {
    let record = |id: &str| {
        let id = RecordId::parse(id).unwrap();
        records.get(&id).unwrap_or_else(|| panic!("lost: {fact:?}"))
    };
    match fact {
        Fact::Local { image } => {
            for layer in world.image(image).layers() {
                assert!(manager.store().look(layer).unwrap(), "lost {}: {fact:?}", layer.digest());
            }
        }
        Fact::Unpacked { image } => {
            for chain in world.chains(image) {
                let info = manager.snapshots().info(&SnapshotKey::chain(&chain)).unwrap();
                assert!(info.is_some(), "lost {chain}: {fact:?}");
            }
        }
        Fact::Imported { id, chain } => {
            assert_eq!(record(id).chain.as_ref().map(ToString::to_string).as_ref(), Some(chain));
        }
        Fact::Committed { id, image, content } => {
            record(id);
            // Nobody promised that what was only written is on disk.
            if crash == Crash::Kill {
                assert_made(world, &opened(manager, id).await, image, content);
            }
        }
        Fact::Finalized { id, image, content } => {
            assert_eq!(record(id).twin, None, "{fact:?}");
            let key = record(id).snapshot.clone().unwrap();
            assert!(manager.snapshots().info(&key).unwrap().is_some(), "lost {key}: {fact:?}");
            assert_made(world, &opened(manager, id).await, image, content);
        }
        Fact::Blob { id, blob } => {
            let known = record(id).blob.clone().unwrap().descriptor;
            assert_eq!(known.digest().as_ref(), blob);
            assert!(manager.store().look(&known).unwrap(), "lost {blob}: {fact:?}");
        }
        Fact::Composed { id } => {
            let opened = opened(manager, id).await;
            opened.extract(&Access::anonymous()).await.unwrap();
            assembled(manager, &keys(&opened));
        }
    }
}

async fn opened(manager: &Manager, id: &str) -> ImmutableRef {
    let id = RecordId::parse(id).unwrap();
    let opened = match manager.get(&id, GetOptions::default()).await {
        Err(Error::NeedsRemoteProviders { missing }) => {
            let digests: Vec<_> = missing.iter().map(|blob| blob.descriptor.digest().clone()).collect();
            let handlers = manager.handlers_from_hints(&digests, &Access::anonymous()).await.unwrap();
            manager.get(&id, GetOptions { handlers, ..GetOptions::default() }).await.unwrap()
        }
        opened => opened.unwrap(),
    };
    opened.finalize().await.unwrap();
    opened
}

/// A tree is an image's, and one file.
fn assert_made(world: &World, made: &ImmutableRef, image: &str, content: &str) {
    let Tree { mut nodes } = assembled(made.manager(), &keys(made));
    let file = nodes.remove(Path::new("made")).unwrap_or_else(|| panic!("lost the change of {}", made.id()));
    let FileKind::File { digest: found, .. } = &file.kind else { panic!("it was a file: {file:?}") };
    assert_eq!(*found, digest::sha256(content.as_bytes()).to_string());
    Tree { nodes }.assert_equals(&world.tree(image));
}

/// An image that a crash has left half here becomes whole, whatever of it is here. Nothing is fetched that is.
pub(crate) async fn becomes_whole(world: &World, manager: &Manager, oracle: &mut Oracle, name: &str) {
    let reference: Reference = name.parse().unwrap();
    let image = manager.open_image(&reference, None, &Access::anonymous()).await.unwrap();
    let digest = image.root.digest().to_string();
    let unpacked = oracle.facts.contains(&Fact::Unpacked { image: digest.clone() });
    let before = world.registry.lines().len();
    let top = image.top.unwrap();
    top.extract(&Access::anonymous()).await.unwrap();
    let asked = &world.registry.lines()[before..];
    assert!(!unpacked || asked.is_empty(), "it was unpacked: {asked:?}");
    assembled(manager, &keys(&top)).assert_equals(&world.tree(&digest));
    top.unlazy(&Access::anonymous()).await.unwrap();
    oracle.facts.push(Fact::Local { image: digest.clone() });
    oracle.facts.push(Fact::Unpacked { image: digest });
}

/// Without names and handles nothing stays, but an empty root.
pub(crate) async fn nothing_is_leaked(manager: &Manager, oracle: &mut Oracle) {
    for named in manager.names().await.unwrap() {
        manager.remove_name(&named.reference).await.unwrap();
    }
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    manager.prune(&all, &CancellationToken::new()).await.unwrap();
    let left: Vec<Record> =
        manager.usage(&[]).await.unwrap().entries.into_iter().map(|entry| entry.record).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(manager.store().list().unwrap(), []);
    let root = manager.root();
    assert_eq!(entries(&root.snapshots()), ["kind"]);
    for dir in [root.staging(), root.path().join("ingest"), root.path().join("trash"), root.mounts()] {
        assert_eq!(entries(&dir), [""; 0], "{}", dir.display());
    }
    assert!(entries(&root.path().join("live")).len() <= 1, "files of processes that are dead");
    (oracle.names, oracle.facts) = Default::default();
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        entries => entries.unwrap(),
    };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
