//! What a job tells while it runs: a journal for each job, with replay for those who come late.

mod event;
mod events;
mod feed;
mod journal;

pub use event::{Event, Log, Progress, What};
pub(crate) use feed::Feed;
pub(crate) use journal::Journal;
pub use journal::Status;
