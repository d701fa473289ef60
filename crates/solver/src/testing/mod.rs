//! Ops, stores and graphs over integers, to try a solver with.
//!
//! A [`Script`] is an op that does what it is told and counts what it is asked; a [`Shelf`] keeps results in memory and loses
//! them when it is told to. Work waits at a [`Gate`] until a test lets it on. An [`Import`] is a cache that a job brings, a
//! [`Ledger`] is a key store that counts, and a [`Census`] counts results as long as they live. A [`Puppet`] is a script of
//! which the test does a part itself, [`FaultyKeys`] fail when they are told to, and what is on a [`LazyShelf`] needs a
//! [`Supplier`]. [`disorder`] looks at what a job told; [`conformance`] tries stores of any make.

pub mod conformance;
mod faulty;
mod gate;
mod hurdle;
mod import;
mod lazy;
mod ledger;
mod order;
mod puppet;
mod script;
mod shelf;
mod tracked;

pub use faulty::FaultyKeys;
pub use gate::Gate;
pub use import::Import;
pub use lazy::{LazyShelf, Supplier};
pub use ledger::Ledger;
pub use order::{disorder, told};
pub use puppet::Puppet;
pub use script::{Counts, Script};
pub use shelf::Shelf;
pub use tracked::{Census, Tracked};

use std::str::FromStr;
use std::sync::Arc;

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use crate::{CacheIndex, MemoryKeys};

/// The digest of a text.
#[must_use]
pub fn digest(text: &str) -> Digest {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    let hex = Sha256::digest(text).iter().flat_map(digits).collect::<String>();
    parsed(&format!("sha256:{hex}"))
}

/// A digest that holds for one session only.
#[must_use]
pub fn random(text: &str) -> Digest {
    parsed(&digest(text).as_ref().replace("sha256", "random"))
}

#[allow(clippy::expect_used, reason = "the text was made here")]
fn parsed(text: &str) -> Digest {
    Digest::from_str(text).expect("a digest")
}

/// A cache in memory, with what keeps its results.
#[must_use]
pub fn memory_cache(name: &str) -> (Arc<CacheIndex<i64>>, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::new(name));
    let results = Arc::clone(&shelf);
    (Arc::new(CacheIndex::new(name, Arc::new(MemoryKeys::new()), results)), shelf)
}
