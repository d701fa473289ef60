//! What users write to say where results and caches go: `type=…,key=value,…`, as buildctl takes it.

mod attrs;
pub(crate) mod csv;
mod output;

pub(crate) use attrs::yes_or_no;
pub use csv::attributes;
pub use output::{Dest, OutputKind, OutputSpec};
