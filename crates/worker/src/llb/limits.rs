//! How large a build definition may be.
//!
//! They are far above what clients write and low enough that no definition makes its reader run out of memory: a message
//! of two bytes may be hundreds once it is read, therefore things are counted before they are.

/// Bytes of a definition, and of a file that it makes. BuildKit takes 16 MiB over its socket.
pub const DEFINITION_BYTES: usize = 64 << 20;
/// Vertices of a definition.
pub const VERTICES: usize = 500_000;
/// Inputs, mounts and file actions of all vertices of a definition.
pub const PARTS: usize = 1_000_000;
/// Fields of all parts of a definition, and of all that is said of its vertices: arguments and patterns, say.
pub const FIELDS: usize = 10_000_000;
/// Bytes of a path: `PATH_MAX` of Linux.
pub const PATH_BYTES: usize = 4096;
