//! lazyblob: build caches and container images that move no byte until somebody reads it.
//!
//! This package is a façade: each part is a crate of its own, and an engine may embed just one of them.
//!
//! * [`remote`]: references, credentials, registries, layouts, transfers, build-cache manifests, and with feature
//!   `server` a registry to embed.
//! * [`flightcontrol`]: single flight owned by its last waiter.
//! * [`cache`], [`solver`]: the cache manager, and the solver of build graphs.
//! * [`worker`]: where they meet: build definitions (LLB), ops, commands in containers, exporters, remote caches.
//!   [`Engine`] is all of it as one value, for a build tool to embed.
//!
//! Feature `cli` (default) is for the `lazyblob` command and implies `server`; embedders switch it off and pay for
//! nothing of it.
#![forbid(unsafe_code)]

pub use lazyblob_cache as cache;
pub use lazyblob_flightcontrol as flightcontrol;
pub use lazyblob_remote as remote;
pub use lazyblob_solver as solver;
pub use lazyblob_worker as worker;
pub use lazyblob_worker::Engine;
