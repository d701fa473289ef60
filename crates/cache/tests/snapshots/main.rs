//! Snapshots and mounts.

mod conformance;
mod images;
mod mounting;
mod random;
mod settling;
mod support;
