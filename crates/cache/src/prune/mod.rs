//! What is kept, what it takes, and what goes first.
//!
//! ```text
//! Survey: rows ▸ pins of living processes ▸ names ▸ blobs, snapshots, partials on disk
//!   ├─ usage: what everything takes, what of it is shared, lazy, in use
//!   └─ select (pure): oldest first, children before what they stand on, in one pass with a running total
//!        └─ turns of the database: still unpinned? rows go ─▶ durable ─▶ files nobody refers to any more go to trash/
//! ```
//!
//! **Roots.** A name in `store/index.json` and all below it; a pin of a living process and all below it; a mount. What a
//! name needs is kept whole, except that [`PruneOptions::all`] lets go of layers that can be fetched again: a lazy ref is
//! not broken.
//!
//! **Order.** Rows are gone for good before a file goes, so a crash in between leaves files that nobody refers to, which
//! the next prune finds. Files go by rename in a turn of the database, in which it is looked once more that nobody refers
//! to them: who makes a record pins it in a turn, too.

mod forecast;
mod options;
mod run;
mod select;
mod survey;
mod usage;

pub use options::{Filter, PruneOptions, Space};
pub use run::Pruned;
pub(crate) use survey::pages;
pub use usage::{Entry, Totals, Usage};
