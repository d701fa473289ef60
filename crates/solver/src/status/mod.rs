//! What a job tells while it runs: a journal for each job, with replay for those who come late.
//!
//! What happens to a vertex is told to the journal of every job that has it, at once by the machine or, while something of
//! it runs, through its feed. A job may have a vertex in several ways (its own, merged into another of which it hears, in a
//! build within a build), and may come to it late; so it may be told things twice or in another order than they happened.
//! The journal is the one place that keeps the order that [`Status`] promises: what does not fit in is not taken in.

mod event;
mod feed;
mod journal;
mod note;
mod order;
mod tape;

pub use event::{Event, Log, Progress, What};
pub(crate) use feed::Feed;
pub(crate) use journal::Journal;
pub use journal::Status;
