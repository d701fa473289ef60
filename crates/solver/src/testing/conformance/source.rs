//! What everything that is asked for hits must do.

use std::sync::Arc;

use super::{key, link, selecting, sorted};
use crate::{CacheSource, KeyId, Link, LoadCx, LoadError, StoreError};

/// What a source is to have: links, and results with their keys.
pub type Contents = (Vec<(KeyId, Link, KeyId)>, Vec<(Vec<KeyId>, i64)>);

/// Tries a kind of source. `make` makes one that has these contents; `lose` makes it lose what all results of a value are
/// made of, without knowing.
///
/// # Errors
/// What the source says that fails; that is not a matter of this suite.
///
/// # Panics
/// If something is not as [`CacheSource`] promises.
pub async fn cache_source(
    make: impl AsyncFn(Contents) -> Arc<dyn CacheSource<i64>>,
    lose: impl AsyncFn(i64),
) -> Result<(), StoreError> {
    let cx = LoadCx::detached();
    let (base, other, top) = (key("base"), key("other"), key("top"));
    let (whole, part) = (link("top", 0), selecting("top", 0, "part"));
    let links = vec![(base, whole.clone(), top), (other, whole.clone(), top), (base, part.clone(), other)];
    let source = make((links, vec![(vec![base, other], 1), (vec![top], 2), (vec![top], 3)])).await;
    assert!(!source.name().is_empty(), "it is told about");

    assert_eq!(source.targets(&[base], &whole).await?, [top]);
    assert_eq!(source.targets(&[base, other], &whole).await?, [top], "each once");
    assert_eq!(source.targets(&[base], &part).await?, [other]);
    for nowhere in [link("top", 1), link("other", 0), selecting("top", 0, "other")] {
        assert_eq!(source.targets(&[base, other, top], &nowhere).await?, []);
    }
    let to_top = sorted([(base, whole.clone()), (other, whole.clone())]);
    assert_eq!(sorted(source.links_to(top).await?), to_top);
    assert_eq!(source.links_to(base).await?, []);

    assert_eq!(source.records(key("nobody's")).await?, []);
    let mut of_top = source.records(top).await?;
    of_top.sort_by_key(|record| record.result.created_at);
    let mut values = Vec::new();
    for record in &of_top {
        assert_eq!(record.key, top, "a record is of the key that was asked about");
        let loaded = source.load(&cx, record).await.map_err(StoreError::new)?;
        let given = source.remotes(&cx, record, true).await.map_err(StoreError::new)?;
        assert_eq!(given.first(), Some(&loaded), "it is given away as what it is");
        values.push(loaded);
    }
    assert_eq!(sorted(values), [2, 3]);
    let (of_base, of_other) = (source.records(base).await?, source.records(other).await?);
    assert_eq!(of_base.first().map(|record| &record.result), of_other.first().map(|record| &record.result));

    lose(1).await;
    for record in &of_base {
        let loaded = source.load(&cx, record).await;
        assert!(matches!(loaded, Err(LoadError::Gone(_))), "gone for good, not {loaded:?}");
    }
    let gone: Vec<_> = of_base.into_iter().map(|record| record.result.id).collect();
    source.forget(&gone).await?;
    source.forget(&gone).await?;
    assert_eq!(
        (source.records(base).await?, source.records(other).await?),
        (vec![], vec![]),
        "of no key any more"
    );
    assert_eq!(source.records(top).await?.len(), 2, "others stay");
    assert_eq!(source.targets(&[base], &whole).await?, [top], "and so does the way to them");
    Ok(())
}
