//! Vertices that are not written yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exec::Command;
use super::file::Step;
use crate::llb::pb::{OpMetadata, Platform};

/// One output of a vertex.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) node: Arc<Node>,
    pub(super) index: u32,
}

/// A vertex.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// For which platform, where it is not the one that is asked for when everything is written.
    pub(super) platform: Option<Platform>,
    pub(super) metadata: OpMetadata,
}

/// What a vertex does. What it works on has no numbers yet: they depend on which inputs turn out to be the same.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Source {
        identifier: String,
        attrs: BTreeMap<String, String>,
        caps: Vec<&'static str>,
        on_platform: bool,
    },
    Exec(Box<Command>),
    File {
        base: Option<Output>,
        steps: Vec<Step>,
    },
    Merge(Vec<Output>),
    Diff {
        lower: Option<Output>,
        upper: Option<Output>,
    },
    /// What is left of a vertex while it is dropped.
    Gone,
}

impl Node {
    pub(super) fn new(kind: Kind, platform: Option<Platform>) -> Self {
        Self { kind, platform, metadata: OpMetadata::default() }
    }

    /// What it works on, in the order in which it is written.
    pub(super) fn inputs(&self) -> Vec<&Output> {
        match &self.kind {
            Kind::Source { .. } | Kind::Gone => Vec::new(),
            Kind::Exec(command) => {
                command.mounts.iter().filter_map(|(_, mount)| mount.source.as_ref()).collect()
            }
            Kind::File { base, steps } => {
                base.iter().chain(steps.iter().filter_map(|step| step.from())).collect()
            }
            Kind::Merge(layers) => layers.iter().collect(),
            Kind::Diff { lower, upper } => lower.iter().chain(upper).collect(),
        }
    }

    fn take_inputs(&mut self) -> Vec<Output> {
        match std::mem::replace(&mut self.kind, Kind::Gone) {
            Kind::Source { .. } | Kind::Gone => Vec::new(),
            Kind::Exec(command) => command.mounts.into_iter().filter_map(|(_, mount)| mount.source).collect(),
            Kind::File { base, steps } => {
                base.into_iter().chain(steps.into_iter().filter_map(Step::into_from)).collect()
            }
            Kind::Merge(layers) => layers,
            Kind::Diff { lower, upper } => lower.into_iter().chain(upper).collect(),
        }
    }
}

impl Drop for Node {
    /// One after the other: a chain of vertices is longer than the stack is deep.
    fn drop(&mut self) {
        let mut inputs = self.take_inputs();
        while let Some(Output { node, .. }) = inputs.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                inputs.append(&mut node.take_inputs());
            }
        }
    }
}
