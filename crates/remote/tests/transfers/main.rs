//! The transfer engine, between sources and targets in memory that do what a test says when it says so.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::single_range_in_vec_init, reason = "one range that was asked for is meant")]

mod chaos;
mod dedupe;
mod endings;
mod hosts;
mod layers;
mod limits;
mod panics;
mod priority;
mod rate_limits;
mod sources;
mod support;
mod watching;
