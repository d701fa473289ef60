//! Snapshots and mounts.

mod conformance;
mod mounting;
mod random;
mod settling;
mod support;
