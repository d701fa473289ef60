//! The solver's keys in the cache's database.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::SystemTime;

use lazyblob_cache::metadata::{Database, Engine, Redb, Settings, Sled};
use lazyblob_cache::remotes::Nowhere;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{Components, GetOptions, Manager};
use lazyblob_remote::transfer::{self, Transfers};
use lazyblob_solver::testing::conformance::key_store;
use lazyblob_solver::{Batch, KeyId, KeyStore, Link, ResultId, StoredResult};
use lazyblob_worker::DiskKeys;
use tempfile::TempDir;

fn database(root: &TempDir, engine: Arc<dyn Engine>) -> Database {
    Database::new(Settings::new(root.path(), engine))
}

async fn manager(root: &TempDir) -> Manager {
    let opened = Root::open(root.path(), RootSettings::default()).await.unwrap();
    let snapshots = snapshot::open(Places::below(opened.path()), Wanted::Plain).unwrap();
    let transfers = Transfers::new(transfer::Settings::default());
    let components = Components { transfers, remotes: Arc::new(Nowhere), engine: Arc::new(Sled), snapshots };
    Manager::open(opened, components, lazyblob_cache::manager::Settings::default()).await.unwrap()
}

fn key(seed: u8) -> KeyId {
    KeyId::from_bytes([seed; 32])
}

/// BuildKit row 75: keys, links, back links, results, and their release: as the store in memory.
#[tokio::test]
async fn it_is_a_key_store() {
    let roots = std::sync::Mutex::new(Vec::new());
    let make = async || {
        let root = TempDir::new().unwrap();
        let keys: Arc<dyn KeyStore> = Arc::new(DiskKeys::new(&database(&root, Arc::new(Sled))));
        roots.lock().unwrap().push(root);
        keys
    };
    key_store(make).await.unwrap();
}

#[tokio::test]
async fn the_next_process_finds_what_this_one_remembered() {
    for engine in [Arc::new(Sled) as Arc<dyn Engine>, Arc::new(Redb)] {
        outlives_a_process(&engine).await;
    }
}

/// BuildKit row 77: results that were pruned are forgotten with the keys that led to them; lazy ones are not.
#[tokio::test]
async fn what_was_pruned_is_forgotten() {
    let root = TempDir::new().unwrap();
    let manager = manager(&root).await;
    let keys = DiskKeys::new(manager.database());
    let access = lazyblob_remote::Access::anonymous();
    let made = manager.new_mutable(None, &access, GetOptions::default()).await.unwrap();
    let kept = made.commit().await.unwrap();
    let link = Link { op: key(9), input: 0, selector: None };
    let result = |id: &str| StoredResult { id: ResultId::new(id), created_at: SystemTime::now() };
    let links = vec![(key(1), link.clone(), key(2)), (key(1), link.clone(), key(3))];
    let ids =
        [kept.id().as_str().to_owned(), "0123456789abcdef0123456789abcdef".to_owned(), "scratch".to_owned()];
    let results = (2..).zip(&ids).map(|(seed, id)| (key(seed), result(id))).collect();
    keys.commit(Batch { links, results }).await.unwrap();

    assert_eq!(keys.forget_pruned(&manager).await.unwrap(), 1);
    assert_eq!(keys.targets(&[key(1)], &link).await.unwrap(), [key(2)]);
    assert_eq!(keys.results(key(3)).await.unwrap(), []);
    assert_eq!(keys.results(key(4)).await.unwrap().len(), 1, "the empty tree is always there");
    drop(kept);
    manager.close().await.unwrap();
}

async fn outlives_a_process(engine: &Arc<dyn Engine>) {
    let root = TempDir::new().unwrap();
    let link = Link { op: key(9), input: 1, selector: None };
    let result = StoredResult { id: ResultId::new("r"), created_at: SystemTime::now() };
    let first = database(&root, Arc::clone(engine));
    let batch =
        Batch { links: vec![(key(1), link.clone(), key(2))], results: vec![(key(2), result.clone())] };
    DiskKeys::new(&first).commit(batch.clone()).await.unwrap();
    // A random key stays one.
    let random: KeyId = format!("random:{}", "0".repeat(64)).parse().unwrap();
    let of_random = Batch { links: vec![(random, link.clone(), key(2))], results: Vec::new() };
    DiskKeys::new(&first).commit(of_random).await.unwrap();
    first.close().await;

    let second = database(&root, Arc::clone(engine));
    let keys = DiskKeys::new(&second);
    assert_eq!(keys.targets(&[key(1)], &link).await.unwrap(), [key(2)]);
    assert_eq!(keys.targets(&[key(2)], &link).await.unwrap(), []);
    assert_eq!(keys.results(key(2)).await.unwrap(), [result]);
    assert!(keys.links_to(key(2)).await.unwrap().iter().any(|(from, _)| from.is_random()));
    let generation = second.generation().unwrap();
    keys.commit(batch).await.unwrap();
    assert_eq!(second.generation().unwrap(), generation, "what is there already is not written again");
    second.close().await;
}
