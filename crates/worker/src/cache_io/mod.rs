//! Remote caches in BuildKit's format: in registries, in OCI layouts, and in the configs of images.
//!
//! ```text
//!  import: first question ─▶ manifest ─▶ config ─▶ keys and links in memory; a hit ─▶ a lazy ref, whose handlers read
//!          from the cache with the credentials of whoever reads
//!  export: records ─▶ layers to the target (there? mounted? only then read) ─▶ config ─▶ manifest, last of all
//! ```
//!
//! An import sends nothing before the solver asks it something, and then two requests; no layer of it moves before somebody
//! reads it. One that fails is a cache with nothing in it, and a warning. An export moves only what the target neither has nor
//! can mount; what turns out to be gone leaves its record without a result.

mod export;
mod import;
mod index;
mod inline;
mod place;
mod push;
mod read;
mod records;
mod reset;
mod spec;
mod stacks;

pub use export::{CacheExport, DroppedResult, export};
pub use import::{Imported, import};
pub use inline::{INLINE_FIELD, inline};
pub use spec::{BadCache, ExportSpec, ExportTarget, ImportSpec};
pub(crate) use stacks::blobs_as;
