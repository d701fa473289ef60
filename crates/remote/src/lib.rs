//! Remotes of lazyblob: references, credentials, registries, layouts, transfers and build-cache manifests.
//!
//! A byte moves only when someone reads it, and every request is counted.
//!
//! * [`Reference`] names an image; [`Keychain`] finds credentials when a host asks for them; [`Access`] carries both
//!   the asker's credentials and whoever watches.
//! * [`Transport`] is the HTTP library's only door.
//! * [`Provider`] is one source of blobs: one `open`, one response.
//! * [`Manifest`] is raw bytes with typed views. What is stored or pushed is always those bytes.
//! * [`verify`] holds size and digest against every byte that passes.
#![forbid(unsafe_code)]

pub mod access;
pub mod archive;
mod auth;
pub mod body;
pub mod buildcache;
pub mod copy;
pub mod digest;
pub mod endpoint;
pub mod error;
pub mod hosts;
pub mod keychain;
pub mod layout;
pub mod location;
pub mod manifest;
pub mod media;
pub mod progress;
pub mod provider;
pub mod reference;
pub mod registry;
pub mod request;
#[cfg(feature = "server")]
pub mod server;
pub mod stats;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transfer;
pub mod transport;
pub mod verify;

pub use access::{Access, Priority};
pub use auth::Scopes;
pub use endpoint::{Source, Target};
pub use error::{Error, Mismatch, Result, What};
pub use keychain::{Credential, Keychain};
pub use location::Location;
pub use manifest::Manifest;
pub use oci_spec::image::{Descriptor, Digest};
pub use progress::Progress;
pub use provider::Provider;
pub use reference::{Reference, RepositoryName};
pub use registry::Registry;
pub use transport::Transport;
