//! The distribution API (OCI distribution-spec 1.1) over a small storage trait.
//!
//! [`Registry`] answers requests and knows no socket, so that a test can call it under a paused clock; [`Front`] puts
//! one in front of it. What is kept where is a [`Backend`]'s business: [`Memory`] or [`LayoutBackend`].
//!
//! A blob uploaded to a repository or mounted there can be asked for by HEAD, named by manifests and mounted from
//! there. Its bytes are served only while a manifest of *that* repository names it ([`Settings::serve_unnamed`] lifts
//! that). Deleting hides; nothing is removed from the storage, and what an index still names is back when a registry opens
//! again.

mod auth;
mod backend;
mod blobs;
mod catalogue;
mod front;
pub(crate) mod htpasswd;
mod layout_backend;
mod layout_index;
mod layout_ingest;
mod lists;
mod manifests;
mod memory;
mod open;
mod problem;
mod range;
mod registry;
pub(crate) mod route;
mod service;
mod session;
pub(crate) mod sync;
mod tls;
mod traffic;
mod uploads;

pub use auth::{Action, Authorizer, Need, Open, ReadOnly, Refusal};
pub use backend::{Applied, Backend, Change, Ingest, Named};
pub use front::Front;
pub use htpasswd::{Anonymous, Htpasswd};
pub use layout_backend::LayoutBackend;
pub use memory::Memory;
#[cfg(feature = "testing")]
pub(crate) use problem::Problem;
#[cfg(feature = "testing")]
pub(crate) use registry::Trust;
pub use registry::{Registry, Settings};
pub use service::{Dropped, Service};
pub use tls::Certificates;
pub use traffic::{Entry, Traffic};
