//! What becomes of a result: an image in registries, layouts, archives and the cache itself, or files.
//!
//! ```text
//!  Part ── layers: blobs made where there are none, converted, clamped ── LazyProvider
//!   │        └─ config: given, or the base's, or a plain one; diffIDs and history made to fit
//!   └─▶ ImageExport: manifests and configs in memory, layers wherever they are
//!          ├─ push  ─▶ Copy ─▶ a registry: present? mount? and only then are bytes read
//!          ├─ store ─▶ Copy ─▶ a name in the cache: what is lazy stays lazy
//!          └─ archive ▶ Copy ─▶ OCI layout, OCI tar, what `docker load` reads
//! ```
//!
//! The same inputs make the same bytes: no clock is looked at (docs/adr/0018-reproducible-images.md).

mod archive;
mod base;
mod config;
mod files;
mod image;
mod layers;
mod manifest;
mod options;
mod push;
mod run;
mod source;
mod store;
mod time;

pub use base::Part;
pub use files::{directory, tar};
pub use image::{ImageExport, image};
pub use options::{Annotation, ImageOptions, Place};
pub use push::Pushed;
pub use run::{Exported, export, make_blobs};
