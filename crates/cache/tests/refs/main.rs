//! Refs: what is pulled when, by whom, and what is not.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod blobs;
mod lazy;
mod support;
