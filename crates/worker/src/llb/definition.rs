//! A definition: read, checked, in the order it can be run.

use std::collections::HashMap;

use lazyblob_remote::digest;
use lazyblob_solver::{Edge, VertexName};
use oci_spec::image::Digest;
use prost::Message as _;

use crate::error::{Error, Result};

use super::wire::{Fields, within_limits};
use super::{Fault, Op, Source, Vertex, check, host_platform, normalised, pb};

/// A definition, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Inputs before those that have them; all of them are needed for the result.
    vertices: Vec<Vertex>,
    index: HashMap<Digest, usize>,
    result: Edge,
    source: Option<Vec<u8>>,
}

/// A vertex that was read and not yet looked into.
struct Raw {
    digest: Digest,
    op: pb::Op,
}

impl Definition {
    /// Reads a definition, in which every op must be one that can be run.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::TooLarge`], [`Error::MissingInput`], [`Error::Invalid`]; [`Error::Unsupported`] for
    /// sources of other schemes than images, layouts and local directories, for nested builds and for devices.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let definition = Self::read(bytes)?;
        let refused = definition.unsupported().next().map(|(vertex, what)| (vertex.name.clone(), what));
        refused.map_or(Ok(definition), |(vertex, what)| Err(Error::Unsupported { vertex, what }))
    }

    /// Reads a definition to look at: ops of known kinds that are not run are left in it.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), but [`Error::Unsupported`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        within_limits(bytes)?;
        let pb::Definition { def, mut metadata, source } = pb::Definition::decode(bytes)
            .map_err(|error| Error::Malformed { what: "definition".to_owned(), reason: error.to_string() })?;
        let Some((last, def)) = def.split_last() else {
            return Err(Error::Malformed { what: "definition".to_owned(), reason: "no vertex".to_owned() });
        };
        let mut known = HashMap::with_capacity(def.len());
        let mut raw = Vec::with_capacity(def.len());
        for bytes in def {
            let vertex = decode(bytes)?;
            known.entry(vertex.digest.clone()).or_insert(raw.len());
            raw.push(Some(vertex));
        }
        let last = decode(last)?;
        let result = result(&last)?;
        let mut building = Building { known, raw, done: Vec::new(), at: HashMap::new() };
        building.walk(&last, &result, &mut metadata)?;
        let Building { done: vertices, at: index, .. } = building;
        Ok(Self { vertices, index, result, source })
    }

    /// All vertices that the result needs, inputs before those that have them.
    #[must_use]
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// The vertex of this digest.
    #[must_use]
    pub fn vertex(&self, digest: &Digest) -> Option<&Vertex> {
        self.index.get(digest).and_then(|at| self.vertices.get(*at))
    }

    /// What is to be built.
    #[must_use]
    pub fn result(&self) -> &Edge {
        &self.result
    }

    /// Which lines of which file the vertices come from, as the client wrote it.
    #[must_use]
    pub fn source_map(&self) -> Option<&[u8]> {
        self.source.as_deref()
    }

    /// The vertices that cannot be run here, each with what is not supported, in the plural.
    pub fn unsupported(&self) -> impl Iterator<Item = (&Vertex, String)> {
        self.vertices.iter().filter_map(|vertex| vertex.unsupported().map(|what| (vertex, what)))
    }
}

fn decode(bytes: &[u8]) -> Result<Raw> {
    let digest = digest::sha256(bytes);
    let op = pb::Op::decode(bytes)
        .map_err(|error| Error::Malformed { what: format!("op {digest}"), reason: error.to_string() })?;
    if op.kind.is_none() {
        // A kind that is not known looks like none at all; of the last vertex there is none.
        let others = Fields(bytes).map(|field| field.number).find(|number| !matches!(number, 1 | 10 | 11));
        if let Some(field) = others {
            let vertex = Vertex::called(digest, None, None);
            return Err(Error::Invalid { vertex, fault: Fault::UnknownKind(Some(field)) });
        }
    }
    Ok(Raw { digest, op })
}

/// What the last vertex says is to be built.
fn result(last: &Raw) -> Result<Edge> {
    let invalid = |fault| Error::Invalid {
        vertex: VertexName { digest: last.digest.clone(), name: "result".into() },
        fault,
    };
    if last.op.kind.is_some() {
        return Err(invalid(Fault::Missing("last vertex without an op, which says what is built,")));
    }
    let [input] = last.op.inputs.as_slice() else {
        return Err(invalid(Fault::Index {
            what: "inputs of the last vertex",
            index: 1,
            count: last.op.inputs.len(),
        }));
    };
    edge(input).ok_or_else(|| Error::MissingInput {
        vertex: VertexName { digest: last.digest.clone(), name: "result".into() },
        input: 0,
        missing: format!("{}[{}]", input.digest, input.index),
    })
}

fn edge(input: &pb::Input) -> Option<Edge> {
    let vertex = input.digest.parse().ok()?;
    Some(Edge { vertex, output: u32::try_from(input.index).ok()? })
}

/// A definition while it is put in order.
struct Building {
    known: HashMap<Digest, usize>,
    raw: Vec<Option<Raw>>,
    done: Vec<Vertex>,
    at: HashMap<Digest, usize>,
}

/// A vertex whose inputs are being done.
struct Open {
    raw: Raw,
    inputs: Vec<Edge>,
    next: usize,
}

impl Building {
    /// Checks what the result needs, depth first, without recursion: chains are long.
    fn walk(
        &mut self,
        last: &Raw,
        result: &Edge,
        metadata: &mut std::collections::BTreeMap<String, pb::OpMetadata>,
    ) -> Result<()> {
        let asking = VertexName { digest: last.digest.clone(), name: "result".into() };
        let mut open = vec![self.open(&asking, 0, result)?];
        while let Some(top) = open.last_mut() {
            let Some(input) = top.inputs.get(top.next) else {
                let Some(top) = open.pop() else { break };
                let said = metadata.remove(top.raw.digest.as_ref()).unwrap_or_default();
                let vertex = self.close(top, said)?;
                self.at.insert(vertex.name.digest.clone(), self.done.len());
                self.done.push(vertex);
                continue;
            };
            let (position, input) = (top.next, input.clone());
            top.next += 1;
            if !self.at.contains_key(&input.vertex) {
                let asking =
                    Vertex::called(top.raw.digest.clone(), None, metadata.get(top.raw.digest.as_ref()));
                let next = self.open(&asking, position, &input)?;
                open.push(next);
            }
        }
        let count =
            self.at.get(&result.vertex).and_then(|at| self.done.get(*at)).map_or(0, |done| done.outputs);
        has_output(&asking, 0, result, || result.vertex.to_string(), count)
    }

    /// Takes a vertex up. One that is open already cannot be asked for, or its digest would be part of its own bytes.
    fn open(&mut self, asking: &VertexName, position: usize, edge: &Edge) -> Result<Open> {
        let missing =
            || Error::MissingInput { vertex: asking.clone(), input: position, missing: edge.to_string() };
        let at = self.known.get(&edge.vertex).copied().ok_or_else(missing)?;
        let raw = self.raw.get_mut(at).and_then(Option::take).ok_or_else(missing)?;
        let mut inputs = Vec::with_capacity(raw.op.inputs.len());
        for (input, named) in raw.op.inputs.iter().enumerate() {
            inputs.push(self::edge(named).ok_or_else(|| Error::MissingInput {
                vertex: Vertex::called(raw.digest.clone(), None, None),
                input,
                missing: format!("{}[{}]", named.digest, named.index),
            })?);
        }
        Ok(Open { raw, inputs, next: 0 })
    }

    fn close(&self, open: Open, metadata: pb::OpMetadata) -> Result<Vertex> {
        let Open { raw: Raw { digest, op }, inputs, .. } = open;
        let pb::Op { platform, kind, .. } = op;
        let unnamed = || Vertex::called(digest.clone(), None, Some(&metadata));
        let op = match kind {
            None => return Err(Error::Invalid { vertex: unnamed(), fault: Fault::UnknownKind(None) }),
            Some(pb::Kind::Exec(exec)) => Op::Exec(exec),
            Some(pb::Kind::File(file)) => Op::File(file),
            Some(pb::Kind::Merge(merge)) => Op::Merge(merge),
            Some(pb::Kind::Diff(diff)) => Op::Diff(diff),
            Some(pb::Kind::Build(_)) => Op::Build,
            Some(pb::Kind::Passthrough(_)) => Op::Passthrough,
            Some(pb::Kind::Source(op)) => {
                let source =
                    Source::read(&op).map_err(|fault| Error::Invalid { vertex: unnamed(), fault })?;
                Op::Source { identifier: op.identifier, source }
            }
        };
        let name = Vertex::called(digest.clone(), Some(&op), Some(&metadata));
        let invalid = |fault| Error::Invalid { vertex: name.clone(), fault };
        let outputs = check::outputs(&op, inputs.len()).map_err(invalid)?;
        normalised(platform.as_ref(), &host_platform()).map_err(|bad| invalid(bad.into()))?;
        for (position, input) in inputs.iter().enumerate() {
            let of = self.at.get(&input.vertex).and_then(|at| self.done.get(*at));
            let name_of = || of.map(|of| of.name.to_string()).unwrap_or_default();
            has_output(&name, position, input, name_of, of.map_or(0, |of| of.outputs))?;
        }
        Ok(Vertex { name, op, inputs, written_platform: platform, metadata, outputs })
    }
}

fn has_output(
    vertex: &VertexName,
    input: usize,
    edge: &Edge,
    of: impl FnOnce() -> String,
    count: usize,
) -> Result<()> {
    if usize::try_from(edge.output).is_ok_and(|output| output < count) {
        return Ok(());
    }
    let fault = Fault::NoSuchOutput { input, index: edge.output.into(), of: of(), count };
    Err(Error::Invalid { vertex: vertex.clone(), fault })
}
