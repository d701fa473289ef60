//! Where solver, cache and remote meet: ops, sources, the executor, exporters and LLB.
//!
//! It is the only crate that knows both what a vertex is and what a blob is.
#![forbid(unsafe_code)]

mod error;
pub mod executor;
pub mod keys;
pub mod llb;
pub mod ops;
mod result;
pub mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod worker;

pub use error::{Error, Result};
pub use result::WorkerRef;
pub use worker::{Components, Worker};
