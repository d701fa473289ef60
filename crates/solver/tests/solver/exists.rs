//! Whether a record exists is found out by loading it, and a lazy one exists.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use lazyblob_solver::testing::{LazyShelf, Script, Shelf, Supplier};
use lazyblob_solver::{
    CacheIndex, LoadCx, LoadError, MemoryKeys, ResultId, ResultStore, Solver, StoreError, StoredResult,
};

use crate::support::{checked, once};

/// A lazy shelf that counts how often it is asked whether a result exists.
struct Asked {
    shelf: LazyShelf,
    asked: AtomicUsize,
}

#[async_trait]
impl ResultStore<i64> for Asked {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        self.shelf.save(result, created_at).await
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<i64, LoadError> {
        self.shelf.load(cx, id).await
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.shelf.exists(id).await
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<i64>, LoadError> {
        self.shelf.remotes(cx, id, make).await
    }
}

/// BuildKit row 64: a build that is cached as a whole asks for no record whether it exists, and loads one. A result that nobody
/// brings now exists all the same: it keeps its keys, and is loaded as soon as somebody does.
#[tokio::test(start_paused = true)]
async fn a_record_is_loaded_without_being_asked_for_first() {
    let shelf = Arc::new(Shelf::new("local"));
    let results = Arc::new(Asked { shelf: LazyShelf::over(&shelf), asked: AtomicUsize::new(0) });
    let cache = Arc::new(CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::clone(&results) as _));
    let solver = Solver::new(Arc::clone(&cache), checked());
    let bottom = |brings: &[i64]| Script::new("bottom", 1).opts(Supplier::opts("bottom", brings));
    let ops = |brings: &[i64]| {
        let bottom = bottom(brings);
        let middle = Script::new("middle", 10).input(&bottom);
        let top = Script::new("top", 100).input(&middle);
        [bottom, middle, top]
    };
    let first = ops(&[]);
    assert_eq!(once(&solver, &first.each_ref()).await, (111, false));

    let second = ops(&[111]);
    assert_eq!(once(&solver, &second.each_ref()).await, (111, true));
    assert_eq!((results.asked.load(Ordering::SeqCst), shelf.loads()), (0, 1));
    assert!(second.iter().all(|op| op.counts().execs() == 0));

    // Nobody brings it: that is no reason to forget it.
    assert_eq!(cache.release_unreferenced().await.unwrap(), 0);
    assert_eq!(results.asked.load(Ordering::SeqCst), 3);
    let third = ops(&[111]);
    assert_eq!(once(&solver, &third.each_ref()).await, (111, true));
    assert!(third.iter().all(|op| op.counts().execs() == 0));
    solver.close().await;
}
