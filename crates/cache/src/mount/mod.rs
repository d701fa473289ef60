//! Trees that stay mounted when their process has ended.

mod attach;
pub(crate) mod overlayfs;

pub use overlayfs::Trusts;
