//! The registry of feature `server` and the misbehaving one of feature `testing`, from outside.
#![cfg(feature = "testing")]

mod names;
mod push_pull;
mod support;
