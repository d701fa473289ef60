//! Remote caches: BuildKit's are read and written to the byte, imported without being pulled, and exported without moving
//! what is there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod configs;
mod docker;
mod exporting;
mod hostile;
mod importing;
mod inline;
mod ops;
mod support;
