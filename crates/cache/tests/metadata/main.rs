//! The database: its engines, what comes of crashes, and several processes that share it.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod database;
mod engines;
mod faults;
mod journal;
mod powercut;
mod processes;
mod recovery;
mod soon;
mod support;
