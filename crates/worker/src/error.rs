//! What can go wrong, as outcomes a caller handles differently.

use lazyblob_solver::VertexName;

use crate::llb::Fault;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An outcome that is not success. Every variant names operation, object and cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a build definition: cut short, or something else altogether. Ask for it again.
    #[error("build definition: {what}: {reason}")]
    Malformed {
        /// Which part of it.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A build definition is larger than anything that is meant to be built ([`llb::limits`](crate::llb::limits)). Do not
    /// take it.
    #[error("build definition: {found} {what}, at most {limit} are taken")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        limit: usize,
        /// How much there is, or more.
        found: usize,
    },
    /// A vertex works on something that the definition does not have. It was put together wrongly.
    #[error("build definition: {vertex}: input {input}: {missing}: not in the definition")]
    MissingInput {
        /// Whose input it is.
        vertex: VertexName,
        /// Its position, from 0.
        input: usize,
        /// What is not there.
        missing: String,
    },
    /// A vertex contradicts itself. The definition was put together wrongly.
    #[error("build definition: {vertex}: {fault}")]
    Invalid {
        /// The vertex.
        vertex: VertexName,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A vertex asks for what this builder does not do. Another builder may.
    #[error("build definition: {vertex}: {what} are not supported")]
    Unsupported {
        /// The vertex.
        vertex: VertexName,
        /// What is not done, in the plural.
        what: String,
    },
}
