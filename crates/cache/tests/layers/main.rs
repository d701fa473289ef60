//! Layers applied to directories: what comes of good ones, and what is said of bad ones.
#![allow(clippy::unwrap_used)]

mod adversarial;
mod kinds;
mod streams;
mod support;
