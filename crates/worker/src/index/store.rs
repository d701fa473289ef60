//! The key store.

use std::collections::HashSet;

use async_trait::async_trait;
use lazyblob_cache::metadata::{Database, Read, Space, Transaction};
use lazyblob_cache::{Error, Result};
use lazyblob_solver::{Batch, KeyId, KeyStore, Link, ResultId, StoreError, StoredResult};

use super::row;

const LINKS: Space = Space::new("solver-link");
const BACK: Space = Space::new("solver-back");
const RESULTS: Space = Space::new("solver-result");
const KEYS: Space = Space::new("solver-key");

/// A key store in the database of a cache. Several processes may have the same. What is remembered can be found at once, and
/// is durable [soon](Database::write_soon): after [`Manager::settle`](lazyblob_cache::Manager::settle) for sure.
#[derive(Clone, Debug)]
pub struct DiskKeys(Database);

impl DiskKeys {
    /// The keys in `database`.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Read) -> Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.read(work).await.map_err(StoreError::new)
    }

    async fn write(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.0.write_soon(work).await.map_err(StoreError::new)
    }
}

#[async_trait]
impl KeyStore for DiskKeys {
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        let ways: Vec<Vec<u8>> = from.iter().map(|from| row::way(from, link)).collect();
        self.read(move |rows| {
            let (mut targets, mut seen) = (Vec::new(), HashSet::new());
            for way in ways {
                rows.for_each(&LINKS, &way, &mut |key, _| {
                    let (_, to) = row::read_link(key).ok_or_else(|| damaged(&LINKS))?;
                    if seen.insert(to) {
                        targets.push(to);
                    }
                    Ok(())
                })?;
            }
            Ok(targets)
        })
        .await
    }

    async fn results(&self, key: KeyId) -> Result<Vec<StoredResult>, StoreError> {
        self.read(move |rows| {
            let mut results = Vec::new();
            rows.for_each(&RESULTS, &key.encode(), &mut |key, date| {
                let (id, created_at) = (row::read_result(key), row::read_date(date));
                let (Some(id), Some(created_at)) = (id, created_at) else { return Err(damaged(&RESULTS)) };
                results.push(StoredResult { id, created_at });
                Ok(())
            })?;
            Ok(results)
        })
        .await
    }

    async fn links_from(&self, key: KeyId) -> Result<Vec<(Link, KeyId)>, StoreError> {
        self.read(move |rows| {
            let mut links = Vec::new();
            rows.for_each(&LINKS, &key.encode(), &mut |key, _| {
                links.push(row::read_link(key).ok_or_else(|| damaged(&LINKS))?);
                Ok(())
            })?;
            Ok(links)
        })
        .await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.read(move |rows| links_to(rows, &key)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(move |rows| {
            for (from, link, to) in &batch.links {
                let way = row::link(from, link, to);
                // What is there already costs no write.
                if rows.get(&LINKS, &way)?.is_none() {
                    rows.put(&LINKS, &way, [])?;
                    rows.put(&BACK, &row::back(to, from, link), [])?;
                }
            }
            for (key, result) in &batch.results {
                let (name, date) = (row::result(key, &result.id), row::date(result.created_at));
                if rows.get(&RESULTS, &name)?.is_none_or(|known| known != date) {
                    rows.put(&RESULTS, &name, date)?;
                    rows.put(&KEYS, &row::key_of(&result.id, key), [])?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn release(&self, results: &[ResultId]) -> Result<(), StoreError> {
        let results = results.to_vec();
        self.write(move |rows| {
            let mut bare = HashSet::new();
            for id in &results {
                for key in keys_of(rows, id)? {
                    rows.delete(&KEYS, &row::key_of(id, &key));
                    rows.delete(&RESULTS, &row::result(&key, id));
                    bare.insert(key);
                }
            }
            prune(rows, bare)
        })
        .await
    }

    async fn all_results(&self) -> Result<Vec<ResultId>, StoreError> {
        self.read(|rows| {
            let mut results: Vec<ResultId> = Vec::new();
            rows.for_each(&KEYS, &[], &mut |key, _| {
                let (id, _) = row::read_key_of(key).ok_or_else(|| damaged(&KEYS))?;
                // Those of one result stand side by side.
                if results.last() != Some(&id) {
                    results.push(id);
                }
                Ok(())
            })?;
            Ok(results)
        })
        .await
    }

    async fn keys_of(&self, result: &ResultId) -> Result<Vec<KeyId>, StoreError> {
        let result = result.clone();
        self.read(move |rows| keys_of(rows, &result)).await
    }
}

fn links_to(rows: &dyn Read, key: &KeyId) -> Result<Vec<(KeyId, Link)>> {
    let mut links = Vec::new();
    rows.for_each(&BACK, &key.encode(), &mut |key, _| {
        links.push(row::read_back(key).ok_or_else(|| damaged(&BACK))?);
        Ok(())
    })?;
    Ok(links)
}

fn keys_of(rows: &dyn Read, id: &ResultId) -> Result<Vec<KeyId>> {
    let mut keys = Vec::new();
    rows.for_each(&KEYS, &row::of_result(id), &mut |key, _| {
        let (_, key) = row::read_key_of(key).ok_or_else(|| damaged(&KEYS))?;
        keys.push(key);
        Ok(())
    })?;
    Ok(keys)
}

/// Removes those of `bare` that have neither a result nor a link that leaves them, and then those they were reached from: each
/// once for all that it led to, as looking whether anything is left costs the more the more was removed.
fn prune(rows: &mut Transaction<'_>, mut bare: HashSet<KeyId>) -> Result<()> {
    while !bare.is_empty() {
        let mut above = HashSet::new();
        for key in bare {
            let leads_on = rows.first(&RESULTS, &key.encode())?.is_some()
                || rows.first(&LINKS, &key.encode())?.is_some();
            if leads_on {
                continue;
            }
            for (from, link) in links_to(rows, &key)? {
                rows.delete(&LINKS, &row::link(&from, &link, &key));
                rows.delete(&BACK, &row::back(&key, &from, &link));
                above.insert(from);
            }
        }
        bare = above;
    }
    Ok(())
}

fn damaged(space: &Space) -> Error {
    Error::invalid("read solver index", format_args!("space {}", space.name()), "a row is damaged")
}
