//! Finding out why, by what the solver's own cache has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::StoreError;
use crate::explain::{Asked, Miss, Question, Why};
use crate::key::{KeyId, Link, Selector};
use crate::scheduler::caught;
use crate::store::KeyStore;

/// How many things are named of what was before, and how many keys are compared for it.
const MANY: usize = 8;
/// How many keys are looked at that an input might have had before.
const SIBLINGS: usize = 64;

/// Finds out why. A store that fails is told of, and does no harm.
pub(crate) async fn answer(keys: &dyn KeyStore, question: Question) -> Why {
    let vertex = Arc::clone(&question.vertex);
    let found = caught(Search { keys, question: &question }.misses()).await;
    let misses = found.unwrap_or_else(|cause| vec![Miss::Unknown { cause: cause.to_string() }]);
    Why { vertex, misses }
}

struct Search<'a> {
    keys: &'a dyn KeyStore,
    question: &'a Question,
}

/// What leaves the keys of an input, as far as it belongs to that input.
#[derive(Default)]
struct Leaving {
    /// Keys of the op, reached as it asks now.
    here: BTreeSet<KeyId>,
    /// Keys of the op, reached by another part of the input.
    near: BTreeSet<KeyId>,
    /// Other ops that have it as the same input.
    others: BTreeSet<KeyId>,
}

/// What led to the keys that are nearest, for an input that does not.
#[derive(Default)]
struct Before {
    selectors: BTreeSet<Option<Selector>>,
    contents: BTreeSet<KeyId>,
    keys: BTreeSet<KeyId>,
}

impl Search<'_> {
    async fn misses(&self) -> Result<Vec<Miss>, StoreError> {
        let Question { ignore_cache, ops, known, refused, inputs, .. } = self.question;
        if *ignore_cache {
            return Ok(vec![Miss::Ignored]);
        }
        if !known.is_empty() || !refused.is_empty() {
            let keys = if known.is_empty() { ops } else { known };
            return Ok(vec![Miss::Gone { keys: keys.clone(), tried: refused.clone() }]);
        }
        if inputs.is_empty() {
            return self.root().await;
        }
        let Some(op) = ops.first().copied() else { return Ok(vec![Miss::Never]) };
        let mut leaving = Vec::with_capacity(inputs.len());
        for (at, input) in inputs.iter().enumerate() {
            leaving.push(self.leaving(op, at, input).await?);
        }
        let mut nearest = nearest(leaving.iter().map(|leaving| &leaving.here));
        if nearest.is_empty() {
            nearest = self::nearest(leaving.iter().map(|leaving| &leaving.near));
        }
        if nearest.is_empty() {
            nearest = self.relatives(op).await?;
        }
        if nearest.is_empty() {
            return Ok(self.unknown_here(op, &leaving));
        }
        let mut before: Vec<Option<Before>> = inputs.iter().map(|_| None).collect();
        for key in nearest.into_iter().take(MANY) {
            self.compare(op, key, &mut before).await?;
        }
        let before = before.into_iter().enumerate().filter_map(|(at, before)| Some((at, before?)));
        let misses: Vec<_> = before.flat_map(|(at, before)| told(at, &inputs[at], before)).collect();
        if misses.is_empty() {
            // It was not known when the op was to run, and is now.
            return Ok(vec![Miss::Unknown { cause: "what its inputs lead to is known by now".to_owned() }]);
        }
        Ok(misses)
    }

    /// Why something without inputs was not found.
    async fn root(&self) -> Result<Vec<Miss>, StoreError> {
        let mut known = Vec::new();
        for op in &self.question.ops {
            if !self.keys.links_from(*op).await?.is_empty() || !self.keys.results(*op).await?.is_empty() {
                known.push(*op);
            }
        }
        Ok(vec![if known.is_empty() { Miss::Never } else { Miss::Gone { keys: known, tried: Vec::new() } }])
    }

    async fn leaving(&self, op: KeyId, at: usize, input: &Asked) -> Result<Leaving, StoreError> {
        let mut leaving = Leaving::default();
        for (selector, key) in ways(input) {
            for (link, to) in self.keys.links_from(key).await? {
                if !is_at(&link, at) {
                    continue;
                }
                if link.op != op {
                    leaving.others.insert(link.op);
                } else if link.selector.as_ref() == selector {
                    leaving.here.insert(to);
                } else {
                    leaving.near.insert(to);
                }
            }
        }
        Ok(leaving)
    }

    /// Keys of the op by what its inputs were before they changed: what shares an input with them, at the same place.
    async fn relatives(&self, op: KeyId) -> Result<BTreeSet<KeyId>, StoreError> {
        let mut found = BTreeSet::new();
        for (at, input) in self.question.inputs.iter().enumerate().filter(|(_, input)| input.ran) {
            let mut siblings = BTreeSet::new();
            for key in &input.keys {
                for (from, by) in self.keys.links_to(*key).await? {
                    let leaving = self.keys.links_from(from).await?;
                    let beside = leaving.into_iter().filter(|(link, to)| link.input == by.input && to != key);
                    siblings.extend(beside.map(|(_, to)| to));
                }
            }
            for sibling in siblings.into_iter().take(SIBLINGS) {
                let leaving = self.keys.links_from(sibling).await?;
                found.extend(
                    leaving
                        .into_iter()
                        .filter(|(link, _)| link.op == op && is_at(link, at))
                        .map(|(_, to)| to),
                );
            }
        }
        Ok(found)
    }

    /// Notes for each input that does not lead to a key of the op what does.
    async fn compare(&self, op: KeyId, key: KeyId, before: &mut [Option<Before>]) -> Result<(), StoreError> {
        let links = self.keys.links_to(key).await?;
        for (at, (input, before)) in self.question.inputs.iter().zip(before).enumerate() {
            let led: Vec<_> = links.iter().filter(|(_, link)| link.op == op && is_at(link, at)).collect();
            let leads = led.iter().any(|(from, link)| {
                let mut ways =
                    ways(input).filter(|(_, key)| !input.is_by_content() || Some(*key) == input.content);
                ways.any(|way| way == (link.selector.as_ref(), *from))
            });
            if leads {
                continue;
            }
            let before = before.get_or_insert_default();
            for (from, link) in led {
                if input.keys.contains(from) {
                    // Of what was run again the definition is not the way.
                    if input.is_by_content() {
                        continue;
                    }
                    before.selectors.insert(link.selector.clone());
                } else if link.selector.is_none() && input.content.is_some() && self.is_content(*from).await?
                {
                    before.contents.insert(*from);
                } else {
                    before.keys.insert(*from);
                }
            }
        }
        Ok(())
    }

    /// Whether a key is one of a content: nothing leads to it, and it has no result.
    async fn is_content(&self, key: KeyId) -> Result<bool, StoreError> {
        Ok(self.keys.links_to(key).await?.is_empty() && self.keys.results(key).await?.is_empty())
    }

    /// What is to be said where nothing came near.
    fn unknown_here(&self, op: KeyId, leaving: &[Leaving]) -> Vec<Miss> {
        let inputs = self.question.inputs.iter().zip(leaving);
        // What leaves an input that has just been computed is of this build.
        let old: Vec<_> = inputs
            .clone()
            .filter(|(input, leaving)| (!input.ran || input.again) && !leaving.others.is_empty())
            .map(|(_, leaving)| &leaving.others)
            .collect();
        let mut misses = Vec::new();
        if let Some((first, rest)) = old.split_first() {
            let shared: BTreeSet<_> =
                first.iter().filter(|op| rest.iter().all(|others| others.contains(op))).copied().collect();
            let any = || old.iter().flat_map(|others| others.iter().copied()).collect();
            let before = some_of(if shared.is_empty() { any() } else { shared });
            misses.push(Miss::Definition { now: op, before });
        }
        for (at, (input, _)) in inputs.enumerate().filter(|(_, (input, _))| input.ran && !input.again) {
            misses.extend(told(at, input, Before::default()));
        }
        if misses.is_empty() { vec![Miss::Never] } else { misses }
    }
}

/// The keys that most inputs lead to.
fn nearest<'a>(inputs: impl Iterator<Item = &'a BTreeSet<KeyId>>) -> BTreeSet<KeyId> {
    let mut counts: BTreeMap<KeyId, usize> = BTreeMap::new();
    inputs.flatten().for_each(|key| *counts.entry(*key).or_default() += 1);
    let most = counts.values().copied().max().unwrap_or(0);
    counts.into_iter().filter(|(_, count)| *count == most).map(|(key, _)| key).collect()
}

/// What is to be said of an input that does not lead to what is nearest.
fn told(at: usize, asked: &Asked, before: Before) -> Vec<Miss> {
    let vertex = || Arc::clone(&asked.vertex);
    let mut misses = Vec::new();
    if !before.selectors.is_empty() {
        let (now, before) = (asked.selector.clone(), some_of(before.selectors.clone()));
        misses.push(Miss::Selector { input: at, vertex: vertex(), now, before });
    }
    if let Some(now) = asked.content {
        let looks_at = asked.looks_at.as_ref().map(|words| (words.0)()).unwrap_or_default();
        let before = some_of(before.contents);
        misses.push(Miss::Content { input: at, vertex: vertex(), looks_at, now, before });
    } else if misses.is_empty() {
        let (ran, now, before) = (asked.ran, asked.keys.clone(), some_of(before.keys));
        misses.push(Miss::Input { input: at, vertex: vertex(), ran, now, before });
    }
    misses
}

/// The ways of an input, as they are asked about.
fn ways(input: &Asked) -> impl Iterator<Item = (Option<&Selector>, KeyId)> {
    let keys = input.keys.iter().map(|key| (input.selector.as_ref(), *key));
    keys.chain(input.content.map(|content| (None, content)))
}

fn is_at(link: &Link, input: usize) -> bool {
    usize::try_from(link.input).is_ok_and(|at| at == input)
}

fn some_of<T>(things: BTreeSet<T>) -> Vec<T> {
    things.into_iter().take(MANY).collect()
}
