//! What every key store must do.

use std::sync::Arc;

use super::{key, link, releases, result, selecting, sorted};
use crate::testing::random;
use crate::{Batch, KeyId, KeyStore, Link, ResultId, StoreError, StoredResult};

/// Tries a kind of key store. `make` makes an empty one each time.
///
/// # Errors
/// What a store says that fails; that is not a matter of this suite.
///
/// # Panics
/// If something is not as [`KeyStore`] promises.
pub async fn key_store(make: impl AsyncFn() -> Arc<dyn KeyStore>) -> Result<(), StoreError> {
    empty(&*make().await).await?;
    links(&*make().await).await?;
    results(&*make().await).await?;
    commits_twice(&*make().await).await?;
    random_keys(&*make().await).await?;
    releases::one_level(&*make().await).await?;
    releases::all_levels(&*make().await).await?;
    releases::diamonds(&*make().await).await?;
    releases::cycles(&*make().await).await?;
    releases::a_long_chain(&*make().await).await?;
    releases::linear(&make).await
}

pub(super) async fn put(
    store: &dyn KeyStore,
    links: &[(KeyId, Link, KeyId)],
    results: &[(KeyId, StoredResult)],
) -> Result<(), StoreError> {
    store.commit(Batch { links: links.to_vec(), results: results.to_vec() }).await
}

/// Nothing is found, and nothing fails for that.
async fn empty(store: &dyn KeyStore) -> Result<(), StoreError> {
    assert_eq!(store.targets(&[key("a")], &link("op", 0)).await?, []);
    assert_eq!(store.targets(&[], &link("op", 0)).await?, []);
    assert_eq!(store.results(key("a")).await?, []);
    assert_eq!(store.links_from(key("a")).await?, []);
    assert_eq!(store.links_to(key("a")).await?, []);
    assert_eq!(store.all_results().await?, []);
    assert_eq!(store.keys_of(&ResultId::new("r")).await?, []);
    store.release(&[]).await?;
    store.release(&[ResultId::new("r"), ResultId::new("r")]).await?;
    store.commit(Batch::default()).await?;
    assert_eq!(store.all_results().await?, [], "an empty batch leaves nothing");
    Ok(())
}

/// A link leads from exactly one key, by exactly one op, input and selector, and is found from both ends.
async fn links(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (a, b, c, d) = (key("a"), key("b"), key("c"), key("d"));
    let whole = link("op", 0);
    let part = selecting("op", 0, "part");
    let all = [
        (a, whole.clone(), c),
        (a, part.clone(), d),
        (b, whole.clone(), c),
        (b, whole.clone(), d),
        (a, link("op", 1), a),
    ];
    put(store, &all, &[]).await?;
    assert_eq!(store.targets(&[a], &whole).await?, [c]);
    assert_eq!(store.targets(&[a], &part).await?, [d]);
    assert_eq!(sorted(store.targets(&[b], &whole).await?), sorted([c, d]), "two keys over one link");
    assert_eq!(store.targets(&[a], &link("op", 1)).await?, [a], "a key may lead to itself");
    let both = sorted(store.targets(&[a, b, a], &whole).await?);
    assert_eq!(both, sorted([c, d]), "each once, from however many keys it is reached");
    for other in [link("op", 2), link("other", 0), selecting("op", 0, "other"), selecting("op", 1, "part")] {
        assert_eq!(store.targets(&[a, b], &other).await?, [], "{other:?} leads nowhere");
    }
    assert_eq!(store.targets(&[c, d], &whole).await?, [], "links are not followed backwards");
    for from in [a, b, c, d] {
        let expected = all.iter().filter(|link| link.0 == from).map(|(_, link, to)| (link.clone(), *to));
        assert_eq!(sorted(store.links_from(from).await?), sorted(expected), "links from {from}");
        let expected = all.iter().filter(|link| link.2 == from).map(|(from, link, _)| (*from, link.clone()));
        assert_eq!(sorted(store.links_to(from).await?), sorted(expected), "links to {from}");
    }
    Ok(())
}

/// Results are found by their keys and keys by their results, and a link makes none.
async fn results(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (a, b) = (key("a"), key("b"));
    let (one, two) = (result("one", 1), result("two", 2));
    let results = [(a, one.clone()), (a, two.clone()), (b, two.clone())];
    put(store, &[(a, link("op", 0), key("c"))], &results).await?;
    let names = |results: Vec<StoredResult>| sorted(results.into_iter().map(|result| result.id));
    let of_a = store.results(a).await?;
    assert!(of_a.contains(&one) && of_a.contains(&two), "results with when they were made: {of_a:?}");
    assert_eq!(of_a.len(), 2);
    assert_eq!(store.results(b).await?, std::slice::from_ref(&two));
    assert_eq!(store.results(key("c")).await?, []);
    assert_eq!(store.keys_of(&one.id).await?, [a]);
    assert_eq!(sorted(store.keys_of(&two.id).await?), sorted([a, b]));
    assert_eq!(sorted(store.all_results().await?), sorted([one.id.clone(), two.id.clone()]), "each once");

    store.release(std::slice::from_ref(&two.id)).await?;
    assert_eq!(names(store.results(a).await?), std::slice::from_ref(&one.id));
    assert_eq!(store.results(b).await?, []);
    assert_eq!(store.keys_of(&two.id).await?, []);
    assert_eq!(store.all_results().await?, [one.id]);
    Ok(())
}

/// What is there already stays as it is; a result that was made again is as old as it was last said to be.
async fn commits_twice(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (a, b) = (key("a"), key("b"));
    let links = [(a, link("op", 0), b), (a, link("op", 0), b)];
    for second in [1, 1, 5] {
        put(store, &links, &[(b, result("r", second)), (b, result("r", second))]).await?;
        assert_eq!(store.results(b).await?, [result("r", second)]);
    }
    assert_eq!(store.targets(&[a], &link("op", 0)).await?, [b]);
    assert_eq!(store.links_to(b).await?, [(a, link("op", 0))]);
    assert_eq!(store.keys_of(&ResultId::new("r")).await?, [b]);
    // However often it was remembered, it is forgotten at once.
    store.release(&[ResultId::new("r")]).await?;
    assert_eq!(store.links_from(a).await?, []);
    put(store, &links, &[(b, result("r", 9))]).await?;
    assert_eq!(store.targets(&[a], &link("op", 0)).await?, [b], "what was forgotten can be remembered again");
    Ok(())
}

/// A random key stays one: it must not be exported later because a store forgot what it is.
async fn random_keys(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (from, to) = (KeyId::of_output(&random("from"), 0), KeyId::of_output(&random("to"), 0));
    put(store, &[(from, link("op", 0), to)], &[(to, result("r", 1))]).await?;
    let targets = store.targets(&[from], &link("op", 0)).await?;
    let (back, held) = (store.links_to(to).await?, store.keys_of(&ResultId::new("r")).await?);
    assert_eq!((&targets, back.len(), &held), (&vec![to], 1, &vec![to]));
    let keys = targets.iter().chain(&held).chain(back.iter().map(|(from, _)| from));
    keys.for_each(|key| assert!(key.is_random(), "{key} was random"));
    Ok(())
}
