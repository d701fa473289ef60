//! Snapshots and mounts.

mod conformance;
mod mounting;
mod settling;
mod support;
