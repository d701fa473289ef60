//! The seeds of the fuzzer (`fuzz/seeds/<target>/`), taken as they are, and damaged.
//!
//! `LAZYBLOB_SEEDS=write` writes those that are made by hand anew. What a fuzzer found has a name of its own and stays.
#![allow(clippy::unwrap_used)]

mod made;
mod replay;
