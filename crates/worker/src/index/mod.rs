//! Under what results are remembered, on disk: spaces of the cache's own database, so that there is one committer.
//!
//! ```text
//! solver-link/<from><op><input><selector><to>     a way from the key of an input to a key
//! solver-back/<to><from><op><input><selector>     the same, found by where it leads
//! solver-result/<key><result>                     when the result was computed
//! solver-key/<length><result><key>                the keys of a result
//! ```
//!
//! A batch of the solver is one transaction: all of it is durable, or none of it is there. None of it is in the journal:
//! an index that is lost with its database is a miss, and the database says so.

mod pruned;
mod row;
mod store;

pub use store::DiskKeys;
