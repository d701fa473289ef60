//! Directories made into layers, and layers compressed in another way.
#![allow(clippy::unwrap_used)]

mod adversarial;
mod compress;
mod content;
mod convert;
mod file_list;
mod foreign;
mod headers;
mod layers;
mod links;
mod random;
mod support;
mod whiteouts;
