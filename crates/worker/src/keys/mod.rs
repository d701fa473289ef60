//! What the results of ops are remembered under: BuildKit's digests of ops, to the byte, so that its caches hit here and
//! ours there.
//!
//! An op that is not a source has one [map digest](OpKeys::digest), the sha256 of a JSON text about everything its result
//! depends on but its inputs. Of each input it says which part it reads: as a [selector](DepKeys::selector) that is joined
//! with the keys of the input, and, where that is safe, as [what to look at](DepKeys::content) when the input's content is
//! to be a key. Sources have keys of what they resolve to: [`image_keys`], [`local_key`].
//!
//! What becomes of these digests is in `lazyblob_solver`'s docs of keys. Nothing here does I/O.

mod content;
mod dedupe;
mod exec;
mod exec_json;
mod file;
mod file_json;
mod graft;
mod json;
mod platform;
mod source;

use lazyblob_remote::digest;
use oci_spec::image::Digest;

use crate::llb::pb::Platform;
use crate::llb::{BadPlatform, Op, Vertex};

pub use content::ContentSelector;
pub(crate) use exec::{ContentUse, content_use};
pub(crate) use json::go_strings;
pub use source::{image_keys, image_preimages, local_key};

/// Under what the results of an op are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpKeys {
    /// The text whose sha256 is the map digest.
    pub preimage: String,
    /// One for each input, in order.
    pub deps: Vec<DepKeys>,
}

/// Which part of an input an op reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DepKeys {
    /// The digest of the paths it reads; `None` where it reads all of it, or who knows what.
    pub selector: Option<Digest>,
    /// The paths the selector is made of, in the order in which they are hashed.
    pub paths: Vec<String>,
    /// What of the input makes a key of its content; `None` where that would not be safe.
    pub content: Option<Vec<ContentSelector>>,
}

impl OpKeys {
    /// The digest of the op, without its inputs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest::sha256(self.preimage.as_bytes())
    }

    /// The keys of a vertex, where the builder's own platform is `default`; `None` of sources, whose keys are those of what
    /// they resolve to, and of ops that are not run.
    ///
    /// # Errors
    /// [`BadPlatform`] if `default` is.
    pub fn of(vertex: &Vertex, default: &Platform) -> Result<Option<Self>, BadPlatform> {
        let inputs = vertex.inputs.len();
        Ok(match &vertex.op {
            Op::Exec(exec) => Some(exec::keys(exec, inputs, &vertex.platform(default)?)),
            Op::File(file) => Some(file::keys(file, inputs)),
            Op::Merge(merge) => Some(graft::merge(merge, inputs)),
            Op::Diff(diff) => Some(graft::diff(diff, inputs)),
            Op::Source { .. } | Op::Build | Op::Passthrough => None,
        })
    }
}

impl DepKeys {
    /// Reads these paths, hashed in this order.
    fn reading(paths: Vec<String>) -> Self {
        let selector = digest::sha256(paths.join("\0").as_bytes());
        Self { selector: Some(selector), paths, content: None }
    }
}
