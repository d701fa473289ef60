//! Layout directories and archives: round trips, broken input, what peers make of them.
#![allow(clippy::unwrap_used)]

mod archive_docker;
mod archive_oci;
#[cfg(feature = "testing")]
mod archive_peers;
mod broken;
mod buildkit;
mod cancelled;
mod directory;
mod ingest;
mod onto_itself;
mod support;
