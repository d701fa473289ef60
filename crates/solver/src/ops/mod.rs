//! What a vertex does: the op, its cache map, what it brings to prepare inputs, and the context it runs in.

mod cache_map;
mod cache_opts;
mod cx;
mod op;

pub use cache_map::{CacheMap, Dep, Preprocess, SlowDigest};
pub use cache_opts::CacheOpts;
pub(crate) use cache_opts::Wanted;
pub(crate) use cx::{Asks, Site};
pub use cx::{LoadCx, OpCx, SessionGroup};
pub use op::Op;
