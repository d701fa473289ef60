//! A registry for tests: it counts, it keeps a log, and it misbehaves on demand.
//!
//! * [`TestRegistry`] answers on a loopback socket or, with [`MemoryTransport`], without any socket, so that a test can
//!   pause the clock.
//! * [`Toxic`] is a rule for misbehaviour: which requests, how often, and what happens to them.
//! * [`TokenServer`] hands out bearer tokens, short-lived and false ones too.
//!
//! What cannot be set up panics: a test cannot go on without it.
#![allow(clippy::expect_used)]

mod memory_transport;
mod registry;
mod seed;

pub use memory_transport::MemoryTransport;
pub use registry::{Builder, TestRegistry};
pub use seed::{Image, gzip_layer};
