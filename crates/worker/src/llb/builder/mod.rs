//! A builder of definitions: states, and what is made of them.
//!
//! ```
//! use lazyblob_worker::llb::{self, Copy, Files, Mkdir, Mount};
//!
//! let source = llb::local("context");
//! let built = llb::image("docker.io/library/golang:1")
//!     .cwd("/src")
//!     .run(["go", "build", "-o", "/out/app", "."])
//!     .mount("/src", Mount::bind(&source).read_only())
//!     .mount("/root/.cache", Mount::cache("go"))
//!     .root();
//! let image = llb::scratch()
//!     .file(Files::new().then(Mkdir::new("/bin", 0o755)).then(Copy::new(&built, "/out/app", "/bin/app")))
//!     .named("the program");
//! let definition = image.definition(&llb::host_platform())?;
//! assert_eq!(definition.vertices().len(), 4);
//! # Ok::<_, lazyblob_worker::Error>(())
//! ```
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
