//! What can be wrong with a vertex.

use super::BadPlatform;

/// What is wrong with a vertex of a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It has no op, and is not the last; or one of a kind that nobody has heard of.
    #[error("op {}: unknown kind", .0.map_or_else(|| "none".to_owned(), |field| format!("of field {field}")))]
    UnknownKind(Option<u32>),
    /// Something that must be there is not.
    #[error("{0} missing")]
    Missing(&'static str),
    /// A number that names an input, an action or an output is out of range.
    #[error("{what} {index}: there are {count}")]
    Index {
        /// What it numbers.
        what: &'static str,
        /// The number.
        index: i64,
        /// How many there are.
        count: usize,
    },
    /// An input is an output that the other vertex does not have.
    #[error("input {input}: output {index} of {of}, which has {count}")]
    NoSuchOutput {
        /// The position among the inputs.
        input: usize,
        /// Which output is asked for.
        index: i64,
        /// Of which vertex.
        of: String,
        /// How many it has.
        count: usize,
    },
    /// Two mounts or actions are the same output.
    #[error("output {0} twice")]
    DuplicateOutput(i64),
    /// Inputs of a merge or diff are not used in their order, each once.
    #[error("{what} {position} is input {index}")]
    Order {
        /// What uses them.
        what: &'static str,
        /// The position.
        position: usize,
        /// The input that is named there.
        index: i64,
    },
    /// An action waits for itself.
    #[error("action {0} waits for itself")]
    ActionLoop(usize),
    /// A path leads out of the tree it is in.
    #[error("{what} {path:?} leads outside")]
    Escapes {
        /// What it is the path of.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// A path no system takes.
    #[error("{what}: {reason}")]
    Path {
        /// What it is the path of.
        what: &'static str,
        /// Why it is taken by none.
        reason: &'static str,
    },
    /// What is said of a command cannot all hold.
    #[error("{0}")]
    Conflict(String),
    /// A number that stands for something stands for nothing known.
    #[error("{what} {value}: unknown value")]
    UnknownValue {
        /// What it is.
        what: &'static str,
        /// The number.
        value: i64,
    },
    /// A platform that cannot be.
    #[error(transparent)]
    Platform(#[from] BadPlatform),
    /// A source that cannot be.
    #[error("source {identifier:?}: {reason}")]
    Source {
        /// What it is called.
        identifier: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting of a source that cannot be.
    #[error("attribute {name}={value:?}: {reason}")]
    Attribute {
        /// Which.
        name: &'static str,
        /// To what it is set.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// A mount asks for content keys although what it contains may change under it.
    #[error("mount at {0:?}: content keys of a part that is written to")]
    ContentCache(String),
}
