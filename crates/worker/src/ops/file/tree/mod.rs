//! Trees of files, each with a root that nothing leads out of.
//!
//! Nothing here follows a link in the kernel: a path is walked part by part from an open directory, links are read and taken
//! as a process in the tree would take them, and what is done is done to one name in an open directory.

mod climb;
mod facts;
mod list;
mod make;
mod remove;
mod root;

pub(super) use climb::{KEPT, LIST, up};
pub(super) use facts::{Facts, Id};
pub(super) use list::list;
pub(super) use make::{Look, make_all};
pub(super) use remove::remove;
pub(super) use root::{Place, Root, SEARCH};
