//! What every result store must do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{LoadCx, LoadError, ResultId, ResultStore, StoreError};

/// Tries a result store that is empty. `lose` makes it lose all results of a value, as a disk does.
///
/// # Errors
/// What the store says that fails; that is not a matter of this suite.
///
/// # Panics
/// If something is not as [`ResultStore`] promises.
pub async fn result_store(
    store: Arc<dyn ResultStore<i64>>,
    lose: impl AsyncFn(i64),
) -> Result<(), StoreError> {
    let cx = LoadCx::detached();
    let nobody = ResultId::new("nobody's");
    assert!(!store.exists(&nobody).await?);
    is_gone(&*store, &cx, &nobody).await;

    let (one, two) = (store.save(&1, None).await?, store.save(&2, None).await?);
    assert_ne!(one.id, two.id, "what differs has different names");
    assert!(two.created_at >= one.created_at, "what comes later is not older");
    for (value, stored) in [(1, &one), (2, &two), (1, &one)] {
        assert!(store.exists(&stored.id).await?);
        let loaded = store.load(&cx, &stored.id).await;
        assert_eq!(loaded.ok(), Some(value), "what was saved is loaded, however often");
        let made = store.remotes(&cx, &stored.id, true).await;
        assert_eq!(made.as_deref().ok().and_then(<[i64]>::first), Some(&value), "it can be given away");
        let there = store.remotes(&cx, &stored.id, false).await;
        assert!(there.is_ok_and(|there| there.iter().all(|form| *form == value)), "as itself, or not yet");
    }

    let again = store.save(&1, None).await?;
    assert_eq!(
        store.load(&cx, &again.id).await.ok(),
        Some(1),
        "saved again, it is there under the name it has now"
    );
    assert_eq!(store.load(&cx, &one.id).await.ok(), Some(1), "and under the one it had");

    lose(1).await;
    for lost in [&one, &again] {
        assert!(!store.exists(&lost.id).await?, "what was lost does not exist");
        is_gone(&*store, &cx, &lost.id).await;
    }
    assert_eq!(store.load(&cx, &two.id).await.ok(), Some(2), "others stay");
    let back = store.save(&1, None).await?;
    assert_eq!(store.load(&cx, &back.id).await.ok(), Some(1), "what was lost can be saved again");

    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let old = store.save(&3, Some(date)).await?;
    assert_eq!(old.created_at, date, "what was computed elsewhere keeps its date");
    assert_eq!(store.load(&cx, &old.id).await.ok(), Some(3), "and is there like any other");
    let young = store.save(&4, None).await?;
    assert!(young.created_at >= two.created_at, "what is computed here is as old as it is");
    Ok(())
}

async fn is_gone(store: &dyn ResultStore<i64>, cx: &LoadCx, id: &ResultId) {
    let loaded = store.load(cx, id).await;
    assert!(matches!(loaded, Err(LoadError::Gone(_))), "{id} is gone for good, not {loaded:?}");
    let given = store.remotes(cx, id, true).await;
    assert!(matches!(given, Err(LoadError::Gone(_))), "{id} is gone for good, not {given:?}");
}
