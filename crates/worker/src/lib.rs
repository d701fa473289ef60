//! Where solver, cache and remote meet: ops, sources, the executor, exporters and LLB.
//!
//! It is the only crate that knows both what a vertex is and what a blob is.
#![forbid(unsafe_code)]

pub mod cache_io;
pub mod engine;
mod error;
pub mod executor;
pub mod export;
mod image;
mod index;
pub mod keys;
pub mod llb;
pub mod ops;
mod result;
mod results;
pub mod session;
pub mod spec;
#[cfg(feature = "testing")]
pub mod testing;
mod worker;

pub use engine::Engine;
pub use error::{Error, Result};
pub use image::BaseImage;
pub use index::DiskKeys;
pub use result::WorkerRef;
pub use results::Results;
pub use worker::{Components, Worker};
