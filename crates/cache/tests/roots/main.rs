//! The root on disk: what is one, what several processes on it tell each other, and the blobs in it.
#![allow(clippy::unwrap_used)]

mod content;
mod live;
mod opening;
mod processes;
mod staging;
mod support;
mod trash;
