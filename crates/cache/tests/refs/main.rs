//! Refs: what is pulled when, by whom, and what is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics says where")]

mod blobs;
mod by_blob;
mod closing;
mod composed;
mod full;
mod handlers;
mod high;
mod images;
mod lazy;
mod lost;
mod mounted;
mod mutable;
mod once;
mod processes;
mod pruning;
mod pruning_told;
mod resuming;
mod support;
mod told;
mod trees;
mod unpacking;
