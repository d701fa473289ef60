//! The database of records, behind a trait, and its hand-over between processes.
//!
//! ```text
//! <root>/meta/db.lock          flocked by the process that has the database open
//!             db.want          flocked by the process that is next
//!             generation       how many batches changed something: eight bytes, read without a lock
//!             <engine>/        the engine's files
//!             <engine>.new     these are new, and perhaps not filled yet
//!             <engine>.broken-<n>/   what could not be opened, set aside for whoever wants to look at it
//! <root>/hints/journal         what of it cannot be found out again, line by line: see `journal`
//! ```
//!
//! **Who may open it.** Nobody has the database for the life of a process. One thread of a [`Database`] opens it under
//! the flock of `db.lock` when somebody asks, keeps it while nobody else does, and lets go of it between two batches when
//! `db.want` is locked, or when it was not asked for a while. Whoever wants it locks `db.want` first, so who has just let
//! go cannot be served before who waits.
//!
//! **What is durable when.** A batch is on disk in the engine, then in the journal, then counted in `generation`, and
//! only then acknowledged. The database is the truth, the journal its copy: after a crash between the two the journal is
//! written anew from the database. A journal that is ahead tells of a database that has lost something; what it lacks is
//! put back.
//!
//! **What is durable soon.** Changes of [`write_soon`](Database::write_soon) stay in the thread's memory, where everybody
//! here sees them, until the next batch, which begins with them; before another process has its turn there is such a batch.
//! So what is lost with a process is always the end of what it did. What they speak of, trees that were not synced, the
//! [`Barrier`] makes durable before them, on a thread of its own: the batch is sealed, everybody goes on, on top of it, and
//! when it is synced it is committed. One that cannot be takes along what was gathered meanwhile, which may speak of it.
//!
//! ```text
//! gathered ──▶ sealed, synced ──▶ committed            a durable write, settle, 5 s, idle, another process: seal
//!    N+1            N              … N-1               N is lost: so is N+1, and whoever settles is told
//! ```
//!
//! **What is lost with a database.** One that fails is set aside, never deleted, and a new one is filled from the
//! journal: all that is in [`Space::recoverable`] spaces. The rest is for its owners to find out again from the disk.

mod call;
mod committer;
mod database;
mod disk;
mod engine;
mod generation;
mod guarded;
mod journal;
mod lock;
mod memory;
mod opening;
mod overlay;
mod read;
mod redb;
mod schema;
mod session;
mod settings;
mod sled;
mod soon;
mod space;
mod store;
mod transaction;

pub use self::redb::Redb;
pub use self::sled::Sled;
pub use database::Database;
pub use engine::Engine;
#[cfg(feature = "testing")]
pub(crate) use journal::read as read_journal;
pub use memory::Memory;
pub use read::{Entry, Read, Visitor};
pub use schema::SCHEMA;
pub use settings::{Barrier, Settings};
pub(crate) use soon::Batches;
pub use soon::Since;
pub use space::Space;
pub use store::{Batch, MetadataStore};
pub use transaction::Transaction;
