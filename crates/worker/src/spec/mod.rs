//! What users write to say where results and caches go: `type=…,key=value,…`, as buildctl takes it.

mod attrs;
mod csv;
mod output;

pub use csv::attributes;
pub use output::{Dest, OutputKind, OutputSpec};
