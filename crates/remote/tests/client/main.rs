//! The registry client and copies, against servers in memory.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used)]

mod copy_requests;
mod support;
