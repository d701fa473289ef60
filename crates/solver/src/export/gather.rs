//! Ways that the caches know to the keys of a build, though the build did not come by them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use futures::{StreamExt, stream};
use smallvec::SmallVec;

use crate::error::Result;
use crate::export::walk::Walk;
use crate::export::web::{Node, Web};
use crate::key::{KeyId, Link, Selector};
use crate::value::Value;

/// How many keys are asked about at once.
const AT_ONCE: usize = 32;

/// A key as a source names it.
type Place = (usize, KeyId);

/// A link that a source knows: whose input it leads to, and from where.
struct Found {
    node: usize,
    input: usize,
    selector: Option<Selector>,
    from: Place,
}

impl<R: Value> Walk<R> {
    /// Adds to a web what leads to its keys in the sources, and what leads there, until nothing is new. Each key is asked
    /// about once.
    pub(super) async fn gather(&mut self, web: &mut Web) -> Result<()> {
        let mut nodes_of: HashMap<Place, SmallVec<[usize; 1]>> = HashMap::new();
        let mut asked: Vec<Place> = Vec::new();
        for (at, edge) in self.trace.edges.iter().enumerate().filter(|(_, edge)| !edge.is_root) {
            let Some(node) = web.of_edge[at].first().copied() else { continue };
            for key in &edge.keys {
                // Two edges may have the same key and not be merged: what leads to one leads to the other.
                let of_key = nodes_of.entry(*key).or_insert_with(|| {
                    asked.push(*key);
                    SmallVec::new()
                });
                of_key.push(node);
            }
        }
        let active: HashSet<Place> = asked.iter().copied().collect();
        let mut found: Vec<Found> = Vec::new();
        while !asked.is_empty() {
            let mut next = Vec::new();
            for (place, links) in self.ask(&asked).await? {
                let Some(links) = links else { continue };
                let is_active = active.contains(&place);
                if links.is_empty() && !is_active {
                    let leaf = (!place.1.is_random()).then(|| web.leaf(place.1));
                    nodes_of.entry(place).or_default().extend(leaf);
                    continue;
                }
                for (from, link) in links {
                    if from.is_random() || link.op.is_random() {
                        continue;
                    }
                    let of_place = nodes_of.entry(place).or_default();
                    let input = usize::try_from(link.input).unwrap_or(usize::MAX);
                    let with = |node: &usize| web.nodes[*node].digest == link.op;
                    let mut to: SmallVec<[usize; 1]> = of_place.iter().copied().filter(with).collect();
                    if to.is_empty() && !is_active {
                        let node = web.push(Node { digest: link.op, inputs: Vec::new(), edge: None });
                        of_place.push(node);
                        to.push(node);
                    }
                    let from = (place.0, from);
                    for node in to {
                        let inputs = &mut web.nodes[node].inputs;
                        // How many inputs it has is known from its links alone.
                        if !is_active && inputs.len() <= input {
                            inputs.resize(input + 1, Vec::new());
                        }
                        found.push(Found { node, input, selector: link.selector.clone(), from });
                    }
                    // A leaf of the build is one in every source.
                    if !web.leaves.contains_key(&from.1)
                        && let Entry::Vacant(vacant) = nodes_of.entry(from)
                    {
                        vacant.insert(SmallVec::new());
                        next.push(from);
                    }
                }
            }
            asked = next;
        }
        for Found { node, input, selector, from } in found {
            let leaf = web.leaves.get(&from.1).copied();
            let below = leaf.into_iter().chain(nodes_of.get(&from).into_iter().flatten().copied());
            for below in below.collect::<SmallVec<[usize; 2]>>() {
                web.link(node, input, selector.clone(), below);
            }
        }
        Ok(())
    }

    /// What leads to these keys; `None` where a source could not say.
    async fn ask(&mut self, keys: &[Place]) -> Result<Vec<(Place, Option<Vec<(KeyId, Link)>>)>> {
        let walk = &*self;
        let answers = stream::iter(keys.iter().copied()).map(|(source, key)| async move {
            if walk.is_deaf(source) {
                return ((source, key), Ok(Vec::new()));
            }
            ((source, key), walk.patient(source, walk.trace.sources[source].links_to(key)).await)
        });
        let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
        let mut links = Vec::with_capacity(answers.len());
        for (place, answer) in answers {
            let answer = match answer {
                _ if self.is_deaf(place.0) => None,
                Ok(answer) => Some(answer),
                Err(cause) => {
                    self.failed(place.0, cause)?;
                    None
                }
            };
            links.push((place, answer));
        }
        Ok(links)
    }
}
