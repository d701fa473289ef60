//! Immutable refs over blobs that may not have been pulled yet: records, laziness, content, snapshots, layers.
//!
//! A ref names its layers by descriptor. A layer is local or lazy; a lazy one owns the handler that can fetch it, and
//! reading it fetches it once. This crate stands on `lazyblob-remote` for everything that touches a network and on
//! `lazyblob-flightcontrol` for doing it once.
#![forbid(unsafe_code)]

mod blocking;
pub mod chain;
pub mod content;
pub mod contenthash;
pub mod error;
pub mod export;
pub mod handler;
pub mod image;
pub mod layer;
pub mod manager;
pub mod metadata;
pub mod mount;
pub mod prune;
pub mod record;
pub mod refs;
pub mod remotes;
pub mod root;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tree;
pub mod unlazy;
pub mod verify;

pub use chain::{BlobChainId, ChainId};
pub use error::{Error, Missing, Result};
pub use export::{ExtractOptions, Extracted, MountOptions};
pub use handler::{DescHandler, DescHandlers};
pub use manager::{Components, GetOptions, Manager};
pub use record::{Record, RecordId};
pub use refs::{ImmutableRef, MutableRef};
pub use remotes::Remotes;
pub use root::Root;
pub use tree::Tree;
