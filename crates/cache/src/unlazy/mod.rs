//! Blobs brought here when somebody reads them, and unpacked when somebody wants their tree.
//!
//! ```text
//! blob:      store? ─no─▶ Transfers::bring ── sources: the asker's handler, other handles' handlers, hints
//! snapshot:  Settled(chain) = Settled(below) ‖ apply(blob as it comes)   then what the layer leaves to those below
//!            Kept(top)      = Settled(top), one syncfs for the stack        then visible, the bottom one first
//! ```
//!
//! Both are single flights: the last who waits owns the work. Between processes, who makes a snapshot holds
//! `staging/<key>.lock`, as who writes a blob holds its ingest's lock; the others wait and look again.

mod apply;
mod blob;
mod cores;
mod difference;
mod provider;
mod reading;
mod snapshot;
mod syncs;
mod unpacked;

pub(crate) use cores::Cores;
pub(crate) use provider::outwards;
pub use provider::{LazyProvider, Remote};
pub(crate) use reading::{Reading, Stream, Until};
pub(crate) use snapshot::Step;
pub(crate) use syncs::Syncs;
pub(crate) use unpacked::Unpacked;
