//! What every store must do, whatever it is made of.
//!
//! A suite is given the means to make a new store and goes through it step by step. What is not as the trait promises
//! panics, with words that say what was expected.

mod keys;
mod releases;
mod results;
mod source;

pub use keys::key_store;
pub use results::result_store;
pub use source::{Contents, cache_source};

use std::time::{Duration, SystemTime};

use crate::testing::digest;
use crate::{KeyId, Link, ResultId, Selector, StoredResult};

/// The key of a text.
fn key(text: &str) -> KeyId {
    KeyId::of_output(&digest(text), 0)
}

/// A link of an op that is called so, for an input.
fn link(op: &str, input: u32) -> Link {
    Link { op: key(op), input, selector: None }
}

/// A link of an op that reads a part of an input.
fn selecting(op: &str, input: u32, part: &str) -> Link {
    Link { selector: Some(Selector(digest(part))), ..link(op, input) }
}

/// A result of this name, from this second on.
fn result(name: &str, second: u64) -> StoredResult {
    let created_at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    StoredResult { id: ResultId::new(name), created_at }
}

/// Stores give sets in whatever order they like.
fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    items
}
