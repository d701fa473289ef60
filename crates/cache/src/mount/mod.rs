//! Trees that stay mounted when their process has ended.
//!
//! ```text
//! mounts/ID.json  what is mounted where: written and synced before the mount is made, so that no mount is unknown
//! mounts/ID/      empty/…        layers of nothing, which overlayfs wants beside a single one
//!                 upper/ work/   changes of a mount that may be written to
//!                 tree/          where the tree had to be copied
//! ```
//! The mount table of the kernel is the truth and a record only says what to look for there: a source, or a directory of
//! this root, that no other mount has. A record is flocked by its maker until the mount stands. One that nobody holds
//! and whose mount does not exist is [stale](State::Stale); it stays, with what was written to it, until it is
//! unmounted. Snapshots of mounts that live are [pinned](Mounter::pinned). `mounts/`
//! itself is flocked from the look at what is mounted until the record is written.

pub(crate) mod attach;
mod mounter;
mod mountinfo;
mod namespaces;
pub(crate) mod overlayfs;
mod record;
mod state;
mod unmount;
mod upper;

pub use mounter::{Mounter, Request};
pub use overlayfs::Trusts;
pub use record::{Mode, MountRecord};
pub use state::{Mounted, Stale, State};
pub use upper::KeptUnmounted;
