//! What a solver remembers, and where.
//!
//! ```text
//!   key of an input ── Link (op, input, selector) ─▶ key ── ResultId, created_at ─▶ result
//!   ╰───────────────── KeyStore ─────────────────────────────────────────────╯    ╰ ResultStore
//!   ╰───────────────── CacheIndex, which is a CacheSource ────────────────────────────────────╯
//! ```
//!
//! A [`KeyStore`] keeps keys, the links between them and which results they have; a [`ResultStore`] keeps results. A
//! [`CacheIndex`] is both together, and a [`CacheSource`]: what is asked for hits. The solver writes to the one it was
//! made with and reads, besides, from the sources a job brings.

mod index;
mod key_store;
mod memory;
mod result_store;
mod source;

pub use index::CacheIndex;
pub use key_store::{Batch, KeyStore};
pub use memory::MemoryKeys;
pub use result_store::{ResultId, ResultStore, StoredResult};
pub use source::{CacheSource, Record};
