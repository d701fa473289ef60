//! Why a vertex was not found in the cache.
//!
//! A key is made of the op and, for each input, of one of the input's keys together with the part of it that is read, or of
//! what that part contains. What missed is told against what the solver's own cache has instead: it is asked only for jobs
//! that want to know, and only where an op runs.

mod answer;

use std::fmt;
use std::sync::Arc;

pub(crate) use answer::answer;

use crate::ids::VertexName;
use crate::key::{KeyId, Selector};
use crate::store::ResultId;

/// What is to be explained: taken down when an op begins to run.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Whose op runs.
    pub(crate) vertex: Arc<VertexName>,
    /// Whether it was to be run whatever the cache has.
    pub(crate) ignore_cache: bool,
    /// The op part of its keys: one for each cache map.
    pub(crate) ops: Vec<KeyId>,
    /// Keys that were found and had no result that could be used.
    pub(crate) known: Vec<KeyId>,
    /// Results that could not be used.
    pub(crate) refused: Vec<ResultId>,
    /// Its inputs.
    pub(crate) inputs: Vec<Asked>,
}

/// An input of a vertex that was not found.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Whose output it is.
    pub(crate) vertex: Arc<VertexName>,
    /// Whether its op ran.
    pub(crate) ran: bool,
    /// Whether it ran though it was known: its cache was ignored, or its result gone.
    pub(crate) again: bool,
    /// What part of it is read.
    pub(crate) selector: Option<Selector>,
    /// Its keys in the solver's own cache.
    pub(crate) keys: Vec<KeyId>,
    /// The key of its content, if the op looks at that.
    pub(crate) content: Option<KeyId>,
    /// What of it is looked at, in words.
    pub(crate) looks_at: Option<Words>,
}

impl Asked {
    /// Whether only its content can lead anywhere: it ran though its definition was known.
    pub(crate) fn is_by_content(&self) -> bool {
        self.again && self.content.is_some()
    }
}

/// What an op says in words. It is asked where its work is done: it may panic.
#[derive(Clone)]
pub(crate) struct Words(pub(crate) Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

/// Why a vertex was not found in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The vertex.
    pub vertex: Arc<VertexName>,
    /// What missed: one thing at least, those of inputs in their order.
    pub misses: Vec<Miss>,
}

/// Part of a key that missed, and against what. What was there before is sorted, and cut off where it is many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// It was to be run whatever the cache has.
    Ignored,
    /// Its keys are known, but no result of them could be used.
    Gone {
        /// The keys.
        keys: Vec<KeyId>,
        /// The results that were tried.
        tried: Vec<ResultId>,
    },
    /// Nothing is known of it, nor of anything else that has the same inputs.
    Never,
    /// Its inputs are known, but this was never done with them: its definition changed, or is new.
    Definition {
        /// The op part of its key.
        now: KeyId,
        /// That of what was done with the same inputs.
        before: Vec<KeyId>,
    },
    /// An input has no key that leads here.
    Input {
        /// Its position, from 0.
        input: usize,
        /// Whose output it is.
        vertex: Arc<VertexName>,
        /// Whether that was not found itself: then it has a reason of its own.
        ran: bool,
        /// Its keys.
        now: Vec<KeyId>,
        /// The keys of that input that lead to what was nearest. Empty if nothing came near.
        before: Vec<KeyId>,
    },
    /// Another part of an input is read.
    Selector {
        /// The position of the input, from 0.
        input: usize,
        /// Whose output it is.
        vertex: Arc<VertexName>,
        /// The part that is read; `None` for all of it.
        now: Option<Selector>,
        /// The parts that were read.
        before: Vec<Option<Selector>>,
    },
    /// An input contains something else.
    Content {
        /// The position of the input, from 0.
        input: usize,
        /// Whose output it is.
        vertex: Arc<VertexName>,
        /// What of it is looked at, in the words of [`SlowDigest::looks_at`](crate::SlowDigest::looks_at).
        looks_at: String,
        /// The key of what is there.
        now: KeyId,
        /// The keys of what was there. Empty if nothing came near.
        before: Vec<KeyId>,
    },
    /// The cache could not say.
    Unknown {
        /// What it said.
        cause: String,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.vertex, listed(&self.misses, "; ", "no reason"))
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored => f.write_str("the cache was to be ignored"),
            Self::Gone { keys, tried } if tried.is_empty() => {
                write!(f, "known as {}, but its result is gone", listed(keys, ", ", "something"))
            }
            Self::Gone { keys, tried } => {
                let (keys, tried) = (listed(keys, ", ", "something"), listed(tried, ", ", ""));
                write!(f, "known as {keys}, but its result cannot be used: {tried}")
            }
            Self::Never => f.write_str("nothing like it was ever remembered"),
            Self::Definition { now, before } => {
                write!(
                    f,
                    "its definition is new to these inputs: now {now}, before {}",
                    listed(before, ", ", "none")
                )
            }
            Self::Input { input, vertex, ran, now, before } => {
                let how = if *ran { "was not found itself" } else { "is another one" };
                let (now, before) =
                    (listed(now, ", ", "none"), listed(before, ", ", "nothing that is known"));
                write!(f, "input {input} ({vertex}) {how}: now {now}, before {before}")
            }
            Self::Selector { input, vertex, now, before } => {
                let part = |part: &Option<Selector>| {
                    part.as_ref().map_or_else(|| "all of it".to_owned(), |part| part.0.to_string())
                };
                let before: Vec<_> = before.iter().map(part).collect();
                let (now, before) = (part(now), listed(&before, ", ", "none"));
                write!(f, "another part of input {input} ({vertex}) is read: now {now}, before {before}")
            }
            Self::Content { input, vertex, looks_at, now, before } => {
                let before = listed(before, ", ", "nothing that is known");
                write!(
                    f,
                    "input {input} ({vertex}) contains something else at {looks_at}: now {now}, before {before}"
                )
            }
            Self::Unknown { cause } => write!(f, "unknown: {cause}"),
        }
    }
}

fn listed<T: fmt::Display>(things: &[T], between: &str, none: &str) -> String {
    if things.is_empty() {
        return none.to_owned();
    }
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
