//! Snapshots and mounts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its layers has failed"
)]

mod conformance;
mod images;
mod mounting;
mod random;
mod settling;
mod support;
mod unreadable;
