//! The registry of feature `server` and the misbehaving one of feature `testing`, from outside.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, unreachable_pub)]

mod auth;
mod clients;
mod layout;
mod names;
mod push_pull;
mod socket;
mod support;
mod tokens;
mod toxics;
