//! A pure graph engine for builds, generic over its result type, without I/O.
//!
//! A [`Vertex`] is an [`Op`] with inputs; a [`Solver`] computes the edges of a [`Graph`] that a [`Job`] asks for. Results are
//! remembered under keys that follow from what ops say of themselves ([`CacheMap`]) and, where that leads to nothing, from
//! what their inputs contain. No input is computed, or even loaded, while a cheaper key may still decide.
//!
//! Vertices carry typed cache options ([`CacheOpts`]); a result that cannot be loaded because blobs are missing is resolved
//! by walking the ancestors of the vertex for the options that can supply them ([`LoadCx::find`]). This crate depends on
//! nothing of the workspace, and a test holds it to that: it has never heard of blobs.
#![forbid(unsafe_code)]

mod error;
mod explain;
mod export;
mod graph;
mod ids;
mod job;
mod key;
mod machine;
mod ops;
mod scheduler;
mod settings;
mod solver;
mod status;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod value;
mod vertex;

pub use error::{Cause, Error, LoadError, OpError, Result, Stage, StoreError, Tried};
pub use explain::{Miss, Why};
pub use export::{DropReason, Dropped, ExportMode, ExportOptions, ExportRecord, Exported};
pub use graph::{Graph, GraphView, Known, OutputView, Port, VertexState, VertexView};
pub use ids::{Edge, JobId, SessionId, VertexName};
pub use job::{Built, Job, JobOptions};
pub use key::{KeyId, Link, NotAKey, Selector};
pub use ops::{CacheMap, CacheOpts, Dep, LoadCx, Op, OpCx, Preprocess, SessionGroup, SlowDigest};
pub use settings::Settings;
pub use solver::Solver;
pub use status::{Event, Log, Progress, Status, What};
pub use store::{
    Batch, CacheIndex, CacheSource, KeyStore, MemoryKeys, Record, ResultId, ResultStore, StoredResult,
};
pub use value::Value;
pub use vertex::{Vertex, VertexOptions};
