//! A builder of definitions: states, and what is made of them.
//!
//! Nothing is checked while a state is made; [`State::definition`] holds what came out against the same rules as anybody
//! else's definition. What is written depends on nothing but what was asked for: the same calls give the same bytes.

mod exec;
mod file;
mod graft;
mod marshal;
mod mount;
mod node;
mod source;
mod state;

pub use exec::{Exec, Network, Ran, Security};
pub use file::{Copy, Files, Mkdir, Mkfile, Owner, Rm, Symlink, Who};
pub use graft::{diff, merge};
pub use mount::{CacheSharing, Mount, Secret, Ssh};
pub use source::{ImageOptions, image, image_with, local, local_with, oci_layout, scratch};
pub use state::State;
