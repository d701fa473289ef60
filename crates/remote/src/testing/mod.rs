//! A registry for tests: it counts, it keeps a log, and it misbehaves on demand.
//!
//! * [`TestRegistry`] answers on a loopback socket or, with [`MemoryTransport`], without any socket, so that a test can
//!   pause the clock.
//! * [`Toxic`] is a rule for misbehaviour: which requests, how often, and what happens to them.
//! * [`TokenServer`] hands out bearer tokens, short-lived and false ones too.
//!
//! What cannot be set up panics: a test cannot go on without it.
#![allow(clippy::expect_used)]

mod authority;
mod broken_body;
mod builder;
mod jwt;
mod memory_transport;
mod misbehave;
mod registry;
mod seed;
mod storage;
mod token_service;
mod tokens;
mod toxic;

pub use authority::Authority;
pub use builder::Builder;
pub use jwt::Signer;
pub use memory_transport::MemoryTransport;
pub use registry::TestRegistry;
pub use seed::{Image, gzip_layer};
pub use tokens::{Access as TokenAccess, Lie, TokenRequest, TokenServer};
pub use toxic::{Effect, Expiry, RetryAfter, Toxic};
