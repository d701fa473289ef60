//! What a cache knows, as keys and results that a solver can ask for.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use lazyblob_remote::buildcache::Config;
use lazyblob_solver::{Batch, KeyId, KeyStore as _, Link, MemoryKeys, ResultId, Selector, StoredResult};
use sha2::{Digest as _, Sha256};

use super::read::{Described, Part};
use crate::error::{Error, Result};

/// A cache that was read.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) keys: MemoryKeys,
    parts: Vec<Part>,
    results: HashMap<ResultId, Place>,
}

/// Where the layers of a result are listed.
#[derive(Debug)]
struct Place {
    part: usize,
    layers: Stack,
}

#[derive(Debug)]
enum Stack {
    /// This layer and those below it.
    Top(usize),
    /// These, the bottom one first.
    List(Vec<usize>),
}

impl Loaded {
    /// The keys, links and results of all parts; `object` is named in errors.
    pub(super) async fn new(parts: Vec<Part>, object: &str) -> Result<Self> {
        let (keys, mut results) = (MemoryKeys::new(), HashMap::new());
        for (at, part) in parts.iter().enumerate() {
            let batch = batch(at, part, &mut results, object)?;
            keys.commit(batch).await.map_err(|error| Error::failed("import build cache", object, error))?;
        }
        Ok(Self { keys, parts, results })
    }

    /// The layers of a result, the bottom one first; nothing for one that is not of here.
    pub(super) fn layers(&self, id: &ResultId) -> Option<Vec<&Described>> {
        let place = self.results.get(id)?;
        let part = self.parts.get(place.part)?;
        let stack = match &place.layers {
            Stack::Top(top) => part.config.stack(*top),
            Stack::List(layers) => layers.clone(),
        };
        stack.into_iter().map(|at| part.layers.get(at)?.as_ref()).collect()
    }
}

fn batch(part_at: usize, part: &Part, results: &mut HashMap<ResultId, Place>, object: &str) -> Result<Batch> {
    let bad = |reason: String| Error::failed("import build cache", object, reason);
    let config = &part.config;
    let order = config.inputs_first().ok_or_else(|| bad("its records lead in circles".to_owned()))?;
    let whole = whole(part);
    let mut ids = vec![KeyId::from_bytes([0; 32]); config.records.len()];
    let mut batch = Batch::default();
    for at in order {
        let record = &config.records[at];
        let op: KeyId =
            record.digest.as_ref().parse().map_err(|error| bad(format!("record {at}: {error}")))?;
        if op.is_random() {
            return Err(bad(format!("record {at} holds for one session only")));
        }
        let id = if record.inputs.is_empty() { op } else { named(op, config, at, &ids) };
        ids[at] = id;
        for (input, ways) in (0..).zip(&record.inputs) {
            for way in ways {
                let selector = way.selector.clone().map(Selector);
                batch.links.push((ids[way.link], Link { op, input, selector }, id));
            }
        }
        let tops = record.results.iter().filter(|top| whole[top.layer]);
        let tops = tops.map(|top| (format!("{}", top.layer), Stack::Top(top.layer), top.created_at));
        let lists = record.chains.iter().filter(|chain| {
            !chain.layers.is_empty() && chain.layers.iter().all(|layer| part.layers[*layer].is_some())
        });
        let lists = lists.map(|chain| {
            // One layer alone is not that layer with all below it.
            let name =
                format!("={}", chain.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"));
            (name, Stack::List(chain.layers.clone()), chain.created_at)
        });
        for (name, layers, created_at) in tops.chain(lists) {
            // Many records have the same layers: they are one result.
            let result = ResultId::new(format!("{part_at}/{name}"));
            results.entry(result.clone()).or_insert(Place { part: part_at, layers });
            // Times before 1970 are no times: Go's zero among them.
            let created_at = created_at.max(UNIX_EPOCH);
            batch.results.push((id, StoredResult { id: result, created_at }));
        }
    }
    Ok(batch)
}

/// Of each layer whether it is known, with all below it.
fn whole(part: &Part) -> Vec<bool> {
    let mut whole: Vec<Option<bool>> = vec![None; part.layers.len()];
    for start in 0..part.layers.len() {
        let mut waiting = Vec::new();
        let mut next = Some(start);
        let mut below = true;
        while let Some(at) = next {
            match whole[at] {
                Some(known) => {
                    below = known;
                    break;
                }
                None => waiting.push(at),
            }
            next = part.config.layers[at].parent;
        }
        for at in waiting.into_iter().rev() {
            below &= part.layers[at].is_some();
            whole[at] = Some(below);
        }
    }
    whole.into_iter().map(Option::unwrap_or_default).collect()
}

/// The name of a record with inputs: the same for records that are linked the same.
fn named(op: KeyId, config: &Config, at: usize, ids: &[KeyId]) -> KeyId {
    let mut hasher = Sha256::new();
    hasher.update(op.as_bytes());
    for ways in &config.records[at].inputs {
        let mut ways: Vec<(&str, &[u8; 32])> = ways
            .iter()
            .map(|way| {
                (way.selector.as_ref().map_or("", |selector| selector.as_ref()), ids[way.link].as_bytes())
            })
            .collect();
        ways.sort_unstable();
        ways.dedup();
        hasher.update(b"i");
        for (selector, from) in ways {
            hasher.update(b"s");
            hasher.update(selector);
            hasher.update(b"k");
            hasher.update(from);
        }
    }
    KeyId::from_bytes(hasher.finalize().into())
}
