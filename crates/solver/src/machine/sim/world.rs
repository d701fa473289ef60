//! The definitions that a seed makes, and what they are worth: the naive solver.
//!
//! What an op computes depends on no more than what its key says: on its class, and of each input on all of it, on the part
//! that a selector names, or, where the op looks at content, on that alone. So equal keys mean equal values.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use fastrand::Rng;
use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::op::SimOp;
use super::shape::Shape;
use crate::graph::Graph;
use crate::ids::Edge;
use crate::vertex::Vertex;

/// The digest of a text.
pub(super) fn digest(text: &str) -> Digest {
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::from_str(&format!("sha256:{hex}")).unwrap()
}

/// A number that follows from others and from nothing else.
fn mixed(parts: &[i64]) -> i64 {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part.to_le_bytes()));
    let hash = hasher.finalize();
    i64::from(u16::from_le_bytes([hash[0], hash[1]]))
}

/// How a vertex uses an input.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) vertex: usize,
    pub(super) output: u32,
    /// The part of it that is read.
    pub(super) part: Option<u8>,
    /// Whether its content makes a key.
    pub(super) by_content: bool,
    pub(super) prepared: bool,
}

impl Use {
    /// What of an input's value the op looks at.
    pub(super) fn seen(&self, value: i64) -> i64 {
        match self.part {
            _ if self.by_content => content(value),
            Some(part) => value % (i64::from(part) + 4),
            None => value,
        }
    }
}

/// What a content key is made of: few contents, so that they are often the same.
pub(super) fn content(value: i64) -> i64 {
    value % 3
}

/// A vertex.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) digest: Digest,
    /// What it computes; vertices of one class and like inputs are the same under other digests.
    pub(super) class: i64,
    pub(super) inputs: Vec<Use>,
    /// Which of the keys of its class a vertex without inputs tells, one for each map.
    pub(super) maps: Vec<u8>,
    pub(super) outputs: u32,
    /// What its outputs are worth.
    pub(super) values: Vec<i64>,
    /// The first vertex that is the same under another digest, or this one.
    pub(super) same: usize,
    /// The classes of all it needs, and its own.
    pub(super) needs: BTreeSet<i64>,
}

impl Spec {
    /// What the op computes of these inputs.
    pub(super) fn compute(&self, inputs: &[i64]) -> Vec<i64> {
        let mut parts = vec![self.class];
        parts.extend(self.inputs.iter().zip(inputs).map(|(used, value)| used.seen(*value)));
        (0..self.outputs).map(|output| mixed(&[&parts[..], &[i64::from(output)]].concat())).collect()
    }

    /// The digests of its cache maps.
    pub(super) fn map_digests(&self) -> Vec<Digest> {
        if self.inputs.is_empty() {
            self.maps.iter().map(|map| digest(&format!("source {} {map}", self.class))).collect()
        } else {
            vec![digest(&format!("op {}", self.class))]
        }
    }
}

/// All definitions of a seed. Inputs come before those that have them.
pub(super) struct World {
    pub(super) specs: Vec<Arc<Spec>>,
    by_digest: HashMap<Digest, usize>,
}

impl World {
    pub(super) fn new(rng: &mut Rng, shape: &Shape) -> Self {
        let mut world = Self { specs: Vec::new(), by_digest: HashMap::new() };
        // How each class uses its inputs: by content or not; vertices choose the rest.
        let classes: Vec<Vec<bool>> = (0..shape.classes)
            .map(|_| (0..rng.usize(1..=3)).map(|_| rng.f64() < shape.by_content).collect())
            .collect();
        let outputs: Vec<u32> =
            (0..shape.classes).map(|_| if rng.f64() < shape.outputs { rng.u32(2..=3) } else { 1 }).collect();
        for at in 0..shape.vertices {
            let spec = if at > 1 && rng.f64() < shape.twins {
                {
                    let of = rng.usize(..at);
                    world.twin(rng, of)
                }
            } else if at < 2 || rng.f64() < shape.sources {
                let class = i64::try_from(1000 + rng.usize(..shape.classes)).unwrap();
                let mut maps = vec![0, 1, 2];
                rng.shuffle(&mut maps);
                maps.truncate(if rng.f64() < shape.maps { rng.usize(2..=3) } else { 1 });
                (class, Vec::new(), maps, 1 + u32::from(class % 3 == 0))
            } else {
                let class = rng.usize(..shape.classes);
                let contents = classes[class].iter().copied();
                let inputs = contents.map(|by_content| world.choose(rng, shape, by_content)).collect();
                (i64::try_from(class).unwrap(), inputs, Vec::new(), outputs[class])
            };
            world.add(spec);
        }
        world
    }

    fn choose(&self, rng: &mut Rng, shape: &Shape, by_content: bool) -> Use {
        // Mostly of the newest, so that graphs are deep.
        let below = self.specs.len();
        let vertex = if rng.bool() { rng.usize(below.saturating_sub(3)..below) } else { rng.usize(..below) };
        let output = rng.u32(..self.specs[vertex].outputs);
        let part = (rng.f64() < shape.parts).then(|| rng.u8(..2));
        let prepared = rng.f64() < shape.prepared;
        Use { vertex, output, part, by_content, prepared }
    }

    /// The same as another vertex, on inputs that may be twins of its inputs.
    fn twin(&self, rng: &mut Rng, of: usize) -> (i64, Vec<Use>, Vec<u8>, u32) {
        let spec = &self.specs[of];
        let mut inputs = spec.inputs.clone();
        for used in &mut inputs {
            let like = |at: &usize| self.specs[*at].class == self.specs[used.vertex].class;
            let twins: Vec<_> = (0..self.specs.len()).filter(like).collect();
            if rng.bool() {
                used.vertex = twins[rng.usize(..twins.len())];
            }
        }
        (spec.class, inputs, spec.maps.clone(), spec.outputs)
    }

    fn add(&mut self, (class, inputs, maps, outputs): (i64, Vec<Use>, Vec<u8>, u32)) {
        let at = self.specs.len();
        let digest = digest(&format!("vertex {at}"));
        let below: Vec<_> =
            inputs.iter().map(|used| self.specs[used.vertex].values[used.output as usize]).collect();
        let mut needs: BTreeSet<i64> =
            inputs.iter().flat_map(|used| self.specs[used.vertex].needs.iter().copied()).collect();
        needs.insert(class);
        let like = |a: &Use, b: &Use| {
            self.specs[a.vertex].same == self.specs[b.vertex].same && (a.output, a.part) == (b.output, b.part)
        };
        let equal = |spec: &&Arc<Spec>| {
            let mut inputs = spec.inputs.iter().zip(&inputs);
            spec.class == class && spec.maps.first() == maps.first() && inputs.all(|(a, b)| like(a, b))
        };
        let same = self.specs.iter().find(equal).map_or(at, |spec| spec.same);
        let mut spec =
            Spec { digest: digest.clone(), class, inputs, maps, outputs, values: Vec::new(), same, needs };
        spec.values = spec.compute(&below);
        self.by_digest.insert(digest, at);
        self.specs.push(Arc::new(spec));
    }

    pub(super) fn at(&self, digest: &Digest) -> usize {
        self.by_digest[digest]
    }

    pub(super) fn edge(&self, vertex: usize, output: u32) -> Edge {
        Edge { vertex: self.specs[vertex].digest.clone(), output }
    }

    /// The graph of these vertices and all they need, some of which ignore the cache.
    pub(super) fn graph(&self, tops: &[usize], ignoring: &BTreeSet<usize>) -> (Graph<i64>, Vec<usize>) {
        let mut wanted = vec![false; self.specs.len()];
        tops.iter().for_each(|top| wanted[*top] = true);
        for at in (0..self.specs.len()).rev() {
            if wanted[at] {
                self.specs[at].inputs.iter().for_each(|used| wanted[used.vertex] = true);
            }
        }
        let members: Vec<_> = (0..self.specs.len()).filter(|at| wanted[*at]).collect();
        let vertices = members.iter().map(|at| {
            let spec = &self.specs[*at];
            let inputs = spec.inputs.iter().map(|used| self.edge(used.vertex, used.output)).collect();
            let op = Arc::new(SimOp(Arc::clone(spec)));
            let vertex = Vertex::new(spec.digest.clone(), format!("v{at}"), op, inputs);
            if ignoring.contains(at) { vertex.ignoring_cache() } else { vertex }
        });
        (Graph::new(vertices).unwrap(), members)
    }
}
