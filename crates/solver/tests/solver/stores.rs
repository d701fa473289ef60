//! Stores, by the suites that every store has to pass; and what an index makes of two.

use std::sync::Arc;

use lazyblob_solver::testing::conformance::{cache_source, key_store, result_store};
use lazyblob_solver::testing::{Shelf, digest, memory_cache};
use lazyblob_solver::{Batch, CacheIndex, CacheSource, KeyId, KeyStore, Link, MemoryKeys, ResultStore};

/// BuildKit row 75: links, back links, results, recursive release.
#[tokio::test]
async fn keys_in_memory_are_a_key_store() {
    key_store(async || Arc::new(MemoryKeys::new()) as Arc<dyn KeyStore>).await.unwrap();
}

#[tokio::test]
async fn a_shelf_is_a_result_store() {
    let shelf = Arc::new(Shelf::new("shelf"));
    let store = Arc::clone(&shelf);
    result_store(store, async |value| {
        assert!(shelf.lose(value) > 0);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_index_is_a_source() {
    let (index, shelf) = memory_cache("index");
    let make = async |(links, results)| {
        index.keys().commit(Batch { links, results: Vec::new() }).await.unwrap();
        let results: Vec<(Vec<KeyId>, i64)> = results;
        for (keys, value) in results {
            index.save(Vec::new(), &keys, Some(&value), None).await.unwrap();
        }
        Arc::clone(&index) as Arc<dyn CacheSource<i64>>
    };
    cache_source(make, async |value| {
        assert_eq!(shelf.lose(value), 1);
    })
    .await
    .unwrap();
}

/// BuildKit row 77: what its store has no more is forgotten, with the keys that lead nowhere then. What is there, lazy or
/// not, is not touched: it is not even loaded.
#[tokio::test]
async fn what_is_not_there_any_more_is_released() {
    let (keys, shelf) = (Arc::new(MemoryKeys::new()), Arc::new(Shelf::new("shelf")));
    let results: Arc<dyn ResultStore<i64>> = Arc::clone(&shelf) as _;
    let index = CacheIndex::new("index", Arc::clone(&keys) as _, results);
    let key = |name: String| KeyId::of_output(&digest(&name), 0);
    let link = |name: &str| Link { op: key(name.to_owned()), input: 0, selector: None };
    for value in 0..100 {
        let (from, to) = (key(format!("from {value}")), key(format!("to {value}")));
        index.save(vec![(from, link("op"), to)], &[to], Some(&value), None).await.unwrap();
    }
    assert_eq!(index.release_unreferenced().await.unwrap(), 0);
    (0..100).step_by(3).for_each(|value| assert_eq!(shelf.lose(value), 1));
    assert_eq!(index.release_unreferenced().await.unwrap(), 34);
    assert_eq!(index.release_unreferenced().await.unwrap(), 0);
    for value in 0..100 {
        let found = keys.targets(&[key(format!("from {value}"))], &link("op")).await.unwrap();
        assert_eq!(found.len(), usize::from(value % 3 != 0), "{value}");
    }
    assert_eq!(keys.all_results().await.unwrap().len(), 66);
    assert_eq!(shelf.loads(), 0);
}
