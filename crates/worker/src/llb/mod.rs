//! Build definitions: the format that BuildKit's clients write (LLB), read and written.
//!
//! A definition is a list of ops as bytes. An op names those it works on by the sha256 of their bytes, so the graph cannot
//! have a cycle, and equal work is one vertex. The last entry says which output is to be built.
//!
//! * [`Definition::parse`] takes what `buildctl build` takes on its standard input and gives a [`Definition`] in which
//!   everything was checked that can be checked without running it ([`Fault`], [`limits`]). Whoever walks it need not look
//!   twice: numbers of inputs and outputs are in range, paths stay inside, attributes parse.
//! * [`image`], [`scratch`], [`local`] and [`oci_layout`] begin a [`State`], from which others are made;
//!   [`State::marshal`] writes the definition. What BuildKit's Go client writes for the same thing has the same digests.
//! * [`pb`] has the messages themselves.
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
//! No I/O is done here.

mod builder;
mod check;
mod definition;
mod fault;
pub mod limits;
mod name;
pub mod paths;
pub mod pb;
mod platform;
mod source;
mod vertex;
mod wire;

pub use builder::{
    CacheSharing, Copy, Exec, Files, ImageOptions, Mkdir, Mkfile, Mount, Network, Owner, Ran, Rm, Secret,
    Security, Ssh, State, Symlink, Who, diff, image, image_with, local, local_with, merge, oci_layout,
    scratch,
};
pub use definition::Definition;
pub use fault::Fault;
pub use platform::{BadPlatform, host_platform, normalised};
pub use source::{ImageSource, LocalSource, ResolveMode, Source};
pub use vertex::{Op, Vertex};
