//! A graph as it is looked at: what is known of each vertex at one moment.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_spec::image::Digest;

use crate::graph::Graph;
use crate::ids::VertexName;
use crate::key::KeyId;
use crate::value::Value;

/// A graph at one moment: of a job ([`Job::graph`](crate::Job::graph)), or before it runs ([`Graph::view`]).
///
/// It can be drawn ([`to_dot`](Self::to_dot)) and read by programs ([`to_json`](Self::to_json)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraphView {
    /// The vertices of the job, then those that its own stand for or were built within them; each once.
    pub vertices: Vec<VertexView>,
}

/// An output of a vertex of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The place of the vertex in [`GraphView::vertices`].
    pub vertex: usize,
    /// Which of its outputs, from 0.
    pub output: u32,
}

/// What is known of a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VertexView {
    /// Its digest, and what people call it.
    pub name: Arc<VertexName>,
    /// The kind of its op.
    pub kind: String,
    /// Whether it is run whatever the cache has.
    pub ignores_cache: bool,
    /// What it has as inputs, in order, as it is defined.
    pub inputs: Vec<Port>,
    /// Within which vertex it was built, if it is not of one of the job's own graphs.
    pub within: Option<usize>,
    /// What became of it.
    pub state: VertexState,
    /// How often its result was gone and had to be had again.
    pub lost: u32,
    /// What is known of its outputs, those that somebody asked for, in order.
    pub outputs: Vec<OutputView>,
    /// When its op began to run, the last time it did.
    pub started: Option<SystemTime>,
    /// When it had a result of the op, or failed.
    pub ended: Option<SystemTime>,
    /// How long its outputs were being prepared for those that have them as inputs.
    pub preparing: Duration,
    /// What it failed with.
    pub error: Option<String>,
}

/// What is known of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputView {
    /// Which, from 0.
    pub output: u32,
    /// How much is known of it.
    pub known: Known,
    /// Its keys in the solver's own cache.
    pub keys: Vec<KeyId>,
    /// What stands for it, since both are the same.
    pub merged: Option<Port>,
}

/// How much is known of an output. Each costs more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// The keys that follow from definitions.
    Definition,
    /// The keys that follow from the contents of inputs, if there are to be any.
    Content,
    /// The result.
    Result,
}

/// What a vertex is doing, or what became of it. Of several that hold it is in the one that stands further below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum VertexState {
    /// Nothing, for now: nobody needs it, or it waits for its inputs.
    #[default]
    Waiting,
    /// An input of it failed, and so it cannot run.
    Blocked,
    /// Its result was gone, and was not had again yet.
    Lost,
    /// Its result came from a cache, or was not needed since something above it did.
    Cached,
    /// The op has computed it.
    Completed,
    /// It is asked for its cache map, or waits for a place to be.
    Mapping,
    /// It has all it needs and waits for a place to run.
    Queued,
    /// A record of it is being loaded.
    Loading,
    /// Its result is being remembered.
    Saving,
    /// Its outputs are being prepared for those that have them as inputs.
    Preparing,
    /// The op runs.
    Running,
    /// All that was asked of it stands elsewhere: [`OutputView::merged`] says where.
    Merged,
    /// It failed.
    Failed,
}

impl VertexState {
    /// Its name, as it stands in exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Lost => "lost",
            Self::Cached => "cached",
            Self::Completed => "completed",
            Self::Mapping => "mapping",
            Self::Queued => "queued",
            Self::Loading => "loading",
            Self::Saving => "saving",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Merged => "merged",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for VertexState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Known {
    /// Its name, as it stands in exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Definition => "definition",
            Self::Content => "content",
            Self::Result => "result",
        }
    }
}

impl VertexView {
    pub(crate) fn new(name: Arc<VertexName>, kind: &str, ignores_cache: bool) -> Self {
        Self {
            name,
            kind: kind.to_owned(),
            ignores_cache,
            inputs: Vec::new(),
            within: None,
            state: VertexState::Waiting,
            lost: 0,
            outputs: Vec::new(),
            started: None,
            ended: None,
            preparing: Duration::ZERO,
            error: None,
        }
    }

    /// How long its op ran, or took to fail. `None` if it did not run, or still does.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.ended?.duration_since(self.started?).ok()
    }
}

impl GraphView {
    /// The vertex of this digest; that of the job's own graphs if there are several.
    #[must_use]
    pub fn vertex(&self, digest: &Digest) -> Option<&VertexView> {
        self.vertices.iter().find(|vertex| vertex.name.digest == *digest)
    }
}

impl<R: Value> Graph<R> {
    /// The graph as it is looked at: everything waits.
    #[must_use]
    pub fn view(&self) -> GraphView {
        let places: HashMap<&Digest, usize> =
            self.vertices().enumerate().map(|(at, vertex)| (&vertex.name.digest, at)).collect();
        let vertices = self.sorted().map(|(vertex, kind)| {
            let mut view = VertexView::new(Arc::clone(&vertex.name), kind, vertex.options.ignore_cache);
            let port = |edge: &crate::ids::Edge| {
                places.get(&edge.vertex).map(|at| Port { vertex: *at, output: edge.output })
            };
            view.inputs = vertex.inputs.iter().filter_map(port).collect();
            view
        });
        GraphView { vertices: vertices.collect() }
    }

    /// The graph in Graphviz' language ([`GraphView::to_dot`]).
    #[must_use]
    pub fn to_dot(&self) -> String {
        self.view().to_dot()
    }

    /// The graph as JSON ([`GraphView::to_json`]).
    #[must_use]
    pub fn to_json(&self) -> String {
        self.view().to_json()
    }
}

/// One vertex in each state, as exports have them in their tests.
#[cfg(test)]
pub(super) fn example() -> GraphView {
    let states = [
        (VertexState::Waiting, "plain"),
        (VertexState::Blocked, "with \"quotes\" and \\N"),
        (VertexState::Lost, "two\nlines\tand a tab\u{1}"),
        (VertexState::Cached, "ein Löffel 🥄"),
        (VertexState::Completed, ""),
        (VertexState::Mapping, "m"),
        (VertexState::Queued, "q"),
        (VertexState::Loading, "l"),
        (VertexState::Saving, "s"),
        (VertexState::Preparing, "p"),
        (VertexState::Running, "r"),
        (VertexState::Merged, "="),
        (VertexState::Failed, "f"),
    ];
    let at = |micros| Some(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
    let mut vertices: Vec<_> = (1..)
        .zip(states)
        .map(|(number, (state, name))| {
            let digest = format!("sha256:{number:064x}").parse().expect("a digest");
            let name = Arc::new(VertexName { digest, name: name.into() });
            VertexView { state, ..VertexView::new(name, "op", false) }
        })
        .collect();
    let port = |vertex, output| Port { vertex, output };
    let output = |output, known, merged| OutputView { output, known, keys: Vec::new(), merged };
    vertices[1].inputs = vec![port(0, 0)];
    vertices[2].inputs = vec![port(0, 3)];
    vertices[2].lost = 2;
    vertices[3].inputs = vec![port(1, 0), port(2, 1)];
    let key = "sha256:00000000000000000000000000000000000000000000000000000000000000ff";
    vertices[3].outputs =
        vec![OutputView { keys: vec![key.parse().expect("a key")], ..output(0, Known::Content, None) }];
    vertices[4].ignores_cache = true;
    (vertices[4].started, vertices[4].ended) = (at(1_000_000), at(3_004_567));
    vertices[4].preparing = Duration::from_millis(20);
    vertices[4].lost = 1;
    vertices[10].started = at(5);
    vertices[10].within = Some(4);
    vertices[11].outputs = vec![
        output(0, Known::Nothing, Some(port(4, 0))),
        output(1, Known::Definition, Some(port(10, 2))),
        output(2, Known::Result, None),
    ];
    vertices[12].error = Some("it said \"no\"\nand left".to_owned());
    GraphView { vertices }
}
