//! A registry for tests: it counts, it keeps a log, and it misbehaves on demand.
//!
//! * [`TestRegistry`] answers on a loopback socket or, with [`MemoryTransport`], without any socket, so that a test can
//!   pause the clock.
//! * [`Toxic`] is a rule for misbehaviour: which requests, how often, and what happens to them.
//! * [`TokenServer`] hands out bearer tokens, short-lived and false ones too.
//! * [`ProgressChecker`] watches blobs and knows what they may do.
//! * [`check_backend`] is the conformance suite of [`crate::server::Backend`].
//!
//! What cannot be set up panics: a test cannot go on without it.
//!
//! ```
//! use lazyblob_remote::request::Kind;
//! use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};
//! use lazyblob_remote::transport::{Route, Transport};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // No socket: the registry answers as `registry.test`, its storage as `storage.registry.test`.
//! let registry = TestRegistry::builder()
//!     .toxic(Toxic::too_many_requests(Some(30)).on(Kind::ManifestGet).times(1))
//!     .toxic(Toxic::new(Effect::CutBody(4)).on(Kind::BlobGet).after(1))
//!     .in_memory("registry.test")
//!     .await;
//! registry.seed_image("team/app", "1", &["a layer".into()]).await;
//!
//! let network = registry.transport();
//! let get = || http::Request::get("https://registry.test/v2/team/app/manifests/1");
//! let send = async || {
//!     let request = get().body(lazyblob_remote::body::empty()).expect("a request");
//!     network.send(request, &Route::default()).await.expect("an answer").status()
//! };
//! assert_eq!(send().await, 429);
//! assert_eq!(send().await, 200);
//! assert_eq!(registry.requests(Kind::ManifestGet), 2);
//! assert_eq!(registry.lines()[1], "GET /v2/team/app/manifests/1 200");
//! # }
//! ```
#![allow(clippy::expect_used, reason = "a test that cannot set up its server has failed")]

mod authority;
mod backend_suite;
mod broken_body;
mod builder;
mod installed;
mod jwt;
mod memory_transport;
mod misbehave;
mod progress_checker;
mod registry;
mod seed;
mod storage;
mod token_service;
mod tokens;
mod toxic;

pub use authority::Authority;
pub use backend_suite::check_backend;
pub use builder::Builder;
pub use installed::{installed, not_run};
pub use jwt::Signer;
pub use memory_transport::MemoryTransport;
pub use progress_checker::{Event, ProgressChecker, Seen};
pub use registry::TestRegistry;
pub use seed::{Image, gzip_layer};
pub use tokens::{Access as TokenAccess, Lie, TokenRequest, TokenServer};
pub use toxic::{Effect, Expiry, RetryAfter, Toxic};
