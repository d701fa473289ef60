//! What outlives the database: the entries of recoverable spaces, line by line, as they were changed.
//!
//! ```text
//! <root>/hints/journal       <checksum> J 1 <generation>        when it was written anew, and as what
//!                            <checksum> P <key> <value>         an entry (base64)
//!                            <checksum> D <key>                 an entry that is gone
//!                            <checksum> C <generation> <count>  these lines are one batch
//! <root>/hints/journal.new   on its way to be the next one
//! ```
//!
//! The checksum is over the rest of its line. Lines are appended under `db.lock` only, a batch at a time, and synced. What
//! comes after the last commit line is a batch that was not acknowledged, and is cut off. A line before it that cannot be
//! read is damage: it is passed over and told of.

mod file;
mod line;
mod replay;

pub(super) use file::Journal;
#[cfg(feature = "testing")]
pub(crate) use replay::read;
pub(super) use replay::{Survey, replay, survey};
