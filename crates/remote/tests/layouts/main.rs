//! Layout directories and archives: round trips, broken input, what peers make of them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod archive_docker;
mod archive_oci;
mod archive_peers;
mod broken;
mod buildkit;
mod cancelled;
mod directory;
mod support;
