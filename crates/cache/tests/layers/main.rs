//! Layers applied to directories: what comes of good ones, and what is said of bad ones.
#![allow(clippy::unwrap_used)]

mod adversarial;
mod forms;
mod kinds;
mod random;
mod streams;
mod support;
