//! What every key store must forget, and what not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::put;
use super::{key, link, result, sorted};
use crate::{KeyId, KeyStore, ResultId, StoreError};

/// How many results are released at once, and how long a chain is.
const MANY: u32 = 10_000;

/// A key that leads to nothing goes with the links to it; one that has another result, or leads on, stays.
pub(super) async fn one_level(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (a, b, c, d) = (key("a"), key("b"), key("c"), key("d"));
    let links = [(a, link("b", 0), b), (a, link("c", 0), c), (b, link("d", 0), d)];
    let results = [
        (a, result("a", 1)),
        (b, result("b", 1)),
        (c, result("c", 1)),
        (c, result("other", 2)),
        (d, result("d", 1)),
    ];
    put(store, &links, &results).await?;
    store.release(&[ResultId::new("b"), ResultId::new("c"), ResultId::new("nobody's")]).await?;
    assert_eq!(store.targets(&[a], &link("b", 0)).await?, [b], "b leads to d");
    assert_eq!(store.targets(&[a], &link("c", 0)).await?, [c], "c has another result");
    store.release(&[ResultId::new("other")]).await?;
    assert_eq!(store.targets(&[a], &link("c", 0)).await?, [], "c has none any more");
    assert_eq!(store.links_from(a).await?, [(link("b", 0), b)]);
    assert_eq!(store.links_to(c).await?, []);
    assert_eq!(sorted(store.all_results().await?), sorted(["a", "d"].map(ResultId::new)));
    Ok(())
}

/// What led to a key that went goes too, unless it has a result of its own or leads elsewhere.
pub(super) async fn all_levels(store: &dyn KeyStore) -> Result<(), StoreError> {
    let names: Vec<_> = (0..6).map(|n| key(&n.to_string())).collect();
    let mut links: Vec<_> = names.windows(2).map(|pair| (pair[0], link("op", 0), pair[1])).collect();
    links.push((names[2], link("aside", 0), key("aside")));
    let results =
        [(names[5], result("last", 1)), (key("aside"), result("aside", 1)), (names[1], result("early", 1))];
    put(store, &links, &results).await?;
    store.release(&[ResultId::new("last")]).await?;
    for name in &names[3..] {
        assert_eq!(store.links_from(*name).await?, []);
        assert_eq!(store.links_to(*name).await?, [], "{name} led to nothing but what went");
    }
    assert_eq!(store.links_from(names[2]).await?, [(link("aside", 0), key("aside"))]);
    store.release(&[ResultId::new("aside")]).await?;
    assert_eq!(store.links_to(names[2]).await?, []);
    assert_eq!(store.links_to(names[1]).await?, [(names[0], link("op", 0))], "it has a result");
    assert_eq!(store.all_results().await?, [ResultId::new("early")]);
    store.release(&[ResultId::new("early")]).await?;
    assert_eq!(store.links_from(names[0]).await?, []);
    assert_eq!(store.all_results().await?, []);
    Ok(())
}

/// What is reached in two ways goes when both are gone, whichever goes first.
pub(super) async fn diamonds(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (top, left, right, bottom) = (key("top"), key("left"), key("right"), key("bottom"));
    let links = [
        (top, link("left", 0), left),
        (top, link("right", 0), right),
        (left, link("bottom", 0), bottom),
        (right, link("bottom", 1), bottom),
        (left, link("more", 0), key("more")),
    ];
    put(store, &links, &[(bottom, result("bottom", 1)), (key("more"), result("more", 1))]).await?;
    store.release(&[ResultId::new("bottom")]).await?;
    assert_eq!(store.links_from(top).await?, [(link("left", 0), left)], "right led to the bottom alone");
    assert_eq!(store.links_from(left).await?, [(link("more", 0), key("more"))]);
    assert_eq!(store.links_to(bottom).await?, []);
    store.release(&[ResultId::new("more")]).await?;
    assert_eq!(store.links_from(top).await?, []);
    Ok(())
}

/// Links that lead in a circle do not keep a release from ending, nor others from going.
pub(super) async fn cycles(store: &dyn KeyStore) -> Result<(), StoreError> {
    let (a, b, c, alone) = (key("a"), key("b"), key("c"), key("alone"));
    let links = [
        (a, link("op", 0), b),
        (b, link("op", 0), a),
        (b, link("op", 0), c),
        (alone, link("op", 0), alone),
        (alone, link("op", 0), c),
    ];
    let results = [a, b, c, alone].map(|key| (key, result(&key.to_string(), 1)));
    put(store, &links, &results).await?;
    store.release(&results.clone().map(|(_, result)| result.id)).await?;
    assert_eq!(store.all_results().await?, []);
    assert_eq!(store.links_to(c).await?, [], "c led nowhere");
    for (key, _) in results {
        assert_eq!(store.results(key).await?, []);
        assert_eq!(store.keys_of(&ResultId::new(key.to_string())).await?, []);
    }
    Ok(())
}

/// A chain goes up to its first key, however long it is.
pub(super) async fn a_long_chain(store: &dyn KeyStore) -> Result<(), StoreError> {
    let keys: Vec<KeyId> = (0..MANY).map(|n| key(&n.to_string())).collect();
    let links: Vec<_> = keys.windows(2).map(|pair| (pair[0], link("op", 0), pair[1])).collect();
    let last = keys[keys.len() - 1];
    put(store, &links, &[(last, result("last", 1))]).await?;
    store.release(&[ResultId::new("last")]).await?;
    for at in [0, 1, keys.len() / 2, keys.len() - 1] {
        assert_eq!((store.links_from(keys[at]).await?, store.links_to(keys[at]).await?), (vec![], vec![]));
    }
    Ok(())
}

/// Ten times as many results do not take a hundred times as long, be they of as many keys or of one.
pub(super) async fn linear(make: &impl AsyncFn() -> Arc<dyn KeyStore>) -> Result<(), StoreError> {
    for of_one in [false, true] {
        let mut took = Vec::new();
        for many in [MANY / 10, MANY] {
            let store = make().await;
            let root = key("root");
            let names: Vec<_> = (0..many).map(|n| result(&format!("result {n}"), n.into())).collect();
            let of = |n: &str| if of_one { key("one") } else { key(n) };
            let results: Vec<_> = names.iter().map(|name| (of(name.id.as_str()), name.clone())).collect();
            let links: Vec<_> = results.iter().map(|(key, _)| (root, link("op", 0), *key)).collect();
            put(&*store, &links, &results).await?;
            let ids: Vec<_> = names.into_iter().map(|name| name.id).collect();
            let begun = Instant::now();
            store.release(&ids).await?;
            took.push(begun.elapsed());
            assert_eq!(store.all_results().await?, []);
            assert_eq!(store.links_from(root).await?, []);
        }
        // Whoever shares the machine may slow one of them; a release that is quadratic takes minutes on a disk.
        let most = took[0] * 50 + Duration::from_secs(1);
        assert!(
            took[1] < most,
            "{MANY} results took {:?} to release, a tenth of them {:?}",
            took[1],
            took[0]
        );
    }
    Ok(())
}
