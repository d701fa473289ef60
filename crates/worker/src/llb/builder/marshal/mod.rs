//! Writes states as a definition, with the choices BuildKit's Go client makes: order of inputs and mounts, defaults,
//! what is asked of a builder.

mod exec;
mod file;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lazyblob_remote::digest;
use oci_spec::image::Digest;
use prost::Message as _;

use super::node::{Kind, Node, Output};
use crate::llb::pb;

/// The definition of an output, for `platform` where none was set.
pub(super) fn definition(output: Option<&Output>, platform: &pb::Platform) -> Vec<u8> {
    let mut definition = pb::Definition::default();
    if let Some(output) = output {
        let mut writing = Writing { platform, digests: HashMap::new(), definition: &mut definition };
        writing.walk(&output.node);
        let inputs = Inputs::of(&[output], &writing).list;
        let last = pb::Op { inputs, ..pb::Op::default() };
        writing.write(last, &pb::OpMetadata::default(), &["constraints", "platform"]);
    }
    definition.encode_to_vec()
}

struct Writing<'a> {
    platform: &'a pb::Platform,
    /// Of what is written. The nodes live as long as the state that is written, so none takes another's address.
    digests: HashMap<*const Node, Digest>,
    definition: &'a mut pb::Definition,
}

impl Writing<'_> {
    /// Writes a vertex and what it works on, inputs first, without recursion: chains are long.
    fn walk(&mut self, node: &Arc<Node>) {
        let mut open: Vec<(&Node, Vec<&Output>)> = vec![(node, reversed(node))];
        while let Some((node, inputs)) = open.last_mut() {
            let node: &Node = node;
            if let Some(input) = inputs.pop() {
                if !self.digests.contains_key(&Arc::as_ptr(&input.node)) {
                    open.push((&input.node, reversed(&input.node)));
                }
                continue;
            }
            open.pop();
            // The same input may have been waiting twice.
            if !self.digests.contains_key(&std::ptr::from_ref(node)) {
                let digest = self.node(node);
                self.digests.insert(node, digest);
            }
        }
    }

    fn node(&mut self, node: &Node) -> Digest {
        let platform = || Some(node.platform.clone().unwrap_or_else(|| self.platform.clone()));
        let mut op = pb::Op { constraints: Some(pb::WorkerConstraints::default()), ..pb::Op::default() };
        let mut caps: Vec<&'static str> = Vec::new();
        match &node.kind {
            Kind::Source { identifier, attrs, caps: needed, on_platform } => {
                op.platform = platform().filter(|_| *on_platform);
                caps.clone_from(needed);
                let (identifier, attrs) = (identifier.clone(), attrs.clone());
                op.kind = Some(pb::Kind::Source(pb::SourceOp { identifier, attrs }));
            }
            Kind::Exec(command) => {
                op.platform = platform();
                let inputs = Inputs::of(&node.inputs(), self);
                op.kind = Some(pb::Kind::Exec(Box::new(exec::op(command, &inputs, &mut caps))));
                op.inputs = inputs.list;
            }
            Kind::File { base, steps } => {
                caps.push("file.base");
                let inputs = Inputs::of(&node.inputs(), self);
                op.kind = Some(pb::Kind::File(file::op(base.as_ref(), steps, &inputs)));
                op.inputs = inputs.list;
            }
            Kind::Merge(layers) => {
                caps.push("mergeop");
                // A layer may come twice; it is an input each time.
                op.inputs = layers.iter().map(|layer| self.input(layer)).collect();
                let inputs = (0_i64..).zip(layers).map(|(input, _)| pb::MergeInput { input }).collect();
                op.kind = Some(pb::Kind::Merge(pb::MergeOp { inputs }));
            }
            Kind::Diff { lower, upper } => {
                caps.push("diffop");
                let mut side = |side: Option<&Output>| {
                    let input = side.map_or(-1, |side| {
                        op.inputs.push(self.input(side));
                        if op.inputs.len() > 1 { 1 } else { 0 }
                    });
                    Some(pb::DiffInput { input })
                };
                let (lower, upper) = (side(lower.as_ref()), side(upper.as_ref()));
                op.kind = Some(pb::Kind::Diff(pb::DiffOp { lower, upper }));
            }
            Kind::Gone => {}
        }
        self.write(op, &node.metadata, &caps)
    }

    fn input(&self, output: &Output) -> pb::Input {
        let digest = self.digests.get(&Arc::as_ptr(&output.node)).map(ToString::to_string);
        pb::Input { digest: digest.unwrap_or_default(), index: output.index.into() }
    }

    /// Adds an op, unless it is there; what is said of it is joined.
    fn write(&mut self, op: pb::Op, said: &pb::OpMetadata, caps: &[&str]) -> Digest {
        let bytes = op.encode_to_vec();
        let digest = digest::sha256(&bytes);
        let known = self.definition.metadata.entry(digest.to_string()).or_insert_with(|| {
            self.definition.def.push(bytes);
            pb::OpMetadata::default()
        });
        known.ignore_cache |= said.ignore_cache;
        known.description.extend(said.description.clone());
        known.caps.extend(caps.iter().map(|&cap| (cap.to_owned(), true)));
        if said.export_cache.is_some() {
            known.export_cache.clone_from(&said.export_cache);
        }
        if said.progress_group.is_some() {
            known.progress_group.clone_from(&said.progress_group);
        }
        digest
    }
}

fn reversed(node: &Node) -> Vec<&Output> {
    let mut inputs = node.inputs();
    inputs.reverse();
    inputs
}

/// The inputs of an op, each once.
struct Inputs {
    list: Vec<pb::Input>,
    numbers: BTreeMap<(*const Node, u32), i64>,
}

impl Inputs {
    fn of(outputs: &[&Output], writing: &Writing<'_>) -> Self {
        let mut inputs = Self { list: Vec::new(), numbers: BTreeMap::new() };
        let mut known: HashMap<pb::Input, i64> = HashMap::new();
        for output in outputs {
            let input = writing.input(output);
            let next = i64::try_from(inputs.list.len()).unwrap_or(i64::MAX);
            let number = *known.entry(input.clone()).or_insert_with(|| {
                inputs.list.push(input);
                next
            });
            inputs.numbers.insert((Arc::as_ptr(&output.node), output.index), number);
        }
        inputs
    }

    /// The number of an input; -1 is nothing at all.
    fn number(&self, output: Option<&Output>) -> i64 {
        let key = output.map(|output| (Arc::as_ptr(&output.node), output.index));
        key.and_then(|key| self.numbers.get(&key).copied()).unwrap_or(-1)
    }
}
