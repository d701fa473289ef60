//! From nodes to records: which of them can be reached, what leads in circles, what is the same, and what comes first.

use std::collections::HashMap;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use sha2::{Digest as _, Sha256};

use crate::export::web::Node;
use crate::key::{KeyId, Selector};

/// What a record is, with all that leads to it.
type Identity = [u8; 32];

/// A record without its results.
pub(super) struct Placed {
    pub(super) digest: KeyId,
    pub(super) inputs: Vec<Vec<(Option<Selector>, usize)>>,
    /// The nodes that it stands for.
    pub(super) nodes: Vec<usize>,
}

/// How far each node is from what has no inputs, over the shortest ways: 0 for those, and `None` for what cannot be reached
/// from there. An input needs one way, a node all of its inputs.
pub(super) fn levels(nodes: &[Node]) -> Vec<Option<u32>> {
    let mut above: Vec<Vec<(usize, usize)>> = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for (input, ways) in node.inputs.iter().enumerate() {
            ways.iter().for_each(|(_, below)| above[*below].push((at, input)));
        }
    }
    let mut open: Vec<Vec<bool>> = nodes.iter().map(|node| vec![true; node.inputs.len()]).collect();
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.inputs.len()).collect();
    let mut levels = vec![None; nodes.len()];
    let mut now: Vec<usize> = (0..nodes.len()).filter(|at| missing[*at] == 0).collect();
    let mut level = 0;
    while !now.is_empty() {
        let mut next = Vec::new();
        for below in now {
            levels[below] = Some(level);
            for (at, input) in std::mem::take(&mut above[below]) {
                if std::mem::replace(&mut open[at][input], false) {
                    missing[at] -= 1;
                    if missing[at] == 0 {
                        next.push(at);
                    }
                }
            }
        }
        now = next;
        level += 1;
    }
    levels
}

/// Drops the ways that come from nowhere and those that lead in circles, and says in which order nodes come after all that
/// is left below them.
///
/// Of a circle those ways are left that lead to a higher level, or on the same level to a greater digest. So what could be
/// reached still can, and which ways are left does not depend on where one begins.
fn cut(nodes: &mut [Node], levels: &[Option<u32>]) -> Vec<usize> {
    let mut graph = DiGraph::<(), (), usize>::with_capacity(nodes.len(), nodes.len());
    nodes.iter().for_each(|_| {
        graph.add_node(());
    });
    for (at, node) in nodes.iter().enumerate() {
        for (_, below) in node.inputs.iter().flatten() {
            graph.add_edge(NodeIndex::new(at), NodeIndex::new(*below), ());
        }
    }
    let circles = kosaraju_scc(&graph);
    let mut circle_of = vec![0; nodes.len()];
    for (circle, members) in circles.iter().enumerate() {
        members.iter().for_each(|at| circle_of[at.index()] = circle);
    }
    let rank: Vec<_> = nodes.iter().zip(levels).map(|(node, level)| (*level, node.digest)).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        for ways in &mut node.inputs {
            ways.retain(|(_, below)| {
                levels[*below].is_some() && (circle_of[*below] != circle_of[at] || rank[*below] < rank[at])
            });
        }
    }
    let inputs_first = circles.into_iter().flat_map(|mut members| {
        members.sort_by_key(|at| rank[at.index()]);
        members
    });
    inputs_first.map(NodeIndex::index).filter(|at| levels[*at].is_some()).collect()
}

/// The records of those nodes that can be reached and that `wanted` needs, in an order that follows from them alone.
pub(super) fn records(mut nodes: Vec<Node>, levels: &[Option<u32>], wanted: &[usize]) -> Vec<Placed> {
    let order = cut(&mut nodes, levels);
    let mut needed = vec![false; nodes.len()];
    let mut stack: Vec<usize> = wanted.iter().copied().filter(|at| levels[*at].is_some()).collect();
    while let Some(at) = stack.pop() {
        if !std::mem::replace(&mut needed[at], true) {
            stack.extend(nodes[at].inputs.iter().flatten().map(|(_, below)| *below));
        }
    }
    let mut identities: Vec<Identity> = vec![[0; 32]; nodes.len()];
    let mut heights = vec![0u32; nodes.len()];
    let mut found: Vec<Placed> = Vec::new();
    let mut names: Vec<(u32, KeyId, Identity)> = Vec::new();
    let mut by_identity: HashMap<Identity, usize> = HashMap::new();
    let mut record_of = vec![usize::MAX; nodes.len()];
    for at in order.into_iter().filter(|at| needed[*at]) {
        let node = &mut nodes[at];
        for ways in &mut node.inputs {
            ways.sort_by(|(selector, below), (other, beside)| {
                selector.cmp(other).then_with(|| identities[*below].cmp(&identities[*beside]))
            });
            ways.dedup_by(|(selector, below), (other, beside)| {
                selector == other && identities[*below] == identities[*beside]
            });
        }
        let below = node.inputs.iter().flatten().map(|(_, below)| heights[*below] + 1);
        heights[at] = below.max().unwrap_or(0);
        identities[at] = identity(node, &identities);
        let record = *by_identity.entry(identities[at]).or_insert(found.len());
        record_of[at] = record;
        if record == found.len() {
            names.push((heights[at], node.digest, identities[at]));
            let inputs = node
                .inputs
                .drain(..)
                .map(|ways| ways.into_iter().map(|(selector, below)| (selector, record_of[below])).collect());
            found.push(Placed { digest: node.digest, inputs: inputs.collect(), nodes: vec![at] });
        } else {
            found[record].nodes.push(at);
        }
    }
    sorted(found, &names)
}

/// The same records by height, digest and identity: inputs first, and no two alike.
fn sorted(found: Vec<Placed>, names: &[(u32, KeyId, Identity)]) -> Vec<Placed> {
    let mut places: Vec<usize> = (0..found.len()).collect();
    places.sort_unstable_by_key(|at| names[*at]);
    let mut place_of = vec![0; found.len()];
    places.iter().enumerate().for_each(|(place, at)| place_of[*at] = place);
    let mut found: Vec<Option<Placed>> = found.into_iter().map(Some).collect();
    let mut records: Vec<Placed> = places.into_iter().filter_map(|at| found[at].take()).collect();
    for record in &mut records {
        for ways in &mut record.inputs {
            ways.iter_mut().for_each(|(_, below)| *below = place_of[*below]);
            ways.sort_unstable();
        }
    }
    records
}

/// The digest of a node's own and of all that leads to it.
fn identity(node: &Node, identities: &[Identity]) -> Identity {
    let mut hasher = Sha256::new();
    hasher.update(node.digest.as_bytes());
    for ways in &node.inputs {
        hasher.update(b"i");
        for (selector, below) in ways {
            if let Some(selector) = selector {
                hasher.update(b"s");
                hasher.update(selector.0.as_ref().as_bytes());
            }
            hasher.update(b"k");
            hasher.update(identities[*below]);
        }
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> KeyId {
        KeyId::from_bytes(Sha256::digest(name).into())
    }

    /// The records of nodes that are given as name and ways, the inputs by name.
    fn names(given: &[(&str, &[&[&str]])]) -> Vec<(KeyId, Vec<Vec<KeyId>>)> {
        let place = |name: &&str| given.iter().position(|(known, _)| known == name).unwrap();
        let node = |(name, inputs): &(&str, &[&[&str]])| {
            let ways = |ways: &&[&str]| ways.iter().map(|name| (None, place(name))).collect();
            Node { digest: key(name), inputs: inputs.iter().map(ways).collect(), edge: None }
        };
        let nodes: Vec<_> = given.iter().map(node).collect();
        let (levels, all) = (levels(&nodes), (0..nodes.len()).collect::<Vec<_>>());
        let placed = records(nodes, &levels, &all);
        let digest_of: Vec<_> = placed.iter().map(|record| record.digest).collect();
        let shown = placed.into_iter().enumerate().map(|(at, record)| {
            let ways = record.inputs.into_iter().map(|ways| {
                assert!(ways.iter().all(|(_, below)| *below < at));
                ways.into_iter().map(|(_, below)| digest_of[below]).collect()
            });
            (record.digest, ways.collect())
        });
        shown.collect()
    }

    #[test]
    fn a_circle_is_cut_the_same_wherever_one_begins() {
        let given: [(&str, &[&[&str]]); 5] = [
            ("root", &[]),
            ("left", &[&["root", "right"]]),
            ("right", &[&["root", "left", "top"]]),
            ("top", &[&["left"], &["right"]]),
            // It needs itself.
            ("islet", &[&["root"], &["islet"]]),
        ];
        let first = names(&given);
        let mut turned = given;
        for _ in 0..turned.len() {
            turned.rotate_left(1);
            assert_eq!(names(&turned), first);
        }
        let ways = |name: &str| {
            let mut ways = first.iter().find(|(digest, _)| *digest == key(name)).unwrap().1.concat();
            ways.sort();
            ways
        };
        assert!(first.iter().all(|(digest, _)| *digest != key("islet")));
        assert_eq!(ways("top").len(), 2);
        let (low, high) = if key("left") < key("right") { ("left", "right") } else { ("right", "left") };
        assert_eq!(ways(low), [key("root")]);
        assert_eq!(ways(high).len(), 2, "of two ways between equals one is left");
    }

    #[test]
    fn what_is_the_same_by_all_that_leads_to_it_is_one_record() {
        let given: [(&str, &[&[&str]]); 4] =
            [("one", &[]), ("two", &[]), ("top", &[&["one", "two"]]), ("top", &[&["two", "one", "one"]])];
        let found = names(&given);
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].0, key("top"));
    }
}
