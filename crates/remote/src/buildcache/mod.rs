//! BuildKit's caches as registry objects (`application/vnd.buildkit.cacheconfig.v0`).

mod form;

pub use form::{Form, convert};
