//! The database: its engines, what comes of crashes, and several processes that share it.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod database;
mod engines;
mod support;
