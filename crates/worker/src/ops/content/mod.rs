//! Keys of what an input contains.

mod seen;
mod tables;

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_cache::ImmutableRef;
use lazyblob_cache::contenthash::{Selector, of_nothing};
use lazyblob_remote::Digest;
use lazyblob_solver::{LoadCx, OpError, SlowDigest, VertexName};

use self::seen::Seen;
pub(crate) use self::tables::{Tables, beside};
use crate::error::{Error, gone};
use crate::keys::ContentSelector;
use crate::llb::paths;
use crate::result::WorkerRef;
use crate::worker::Worker;

/// The digest of what an op reads of an input: a key by which its result is found whatever the input was made by. What is
/// known of the input's tree costs neither a pull nor a mount.
pub struct ContentDigest {
    worker: Worker,
    /// Whose input it is.
    vertex: VertexName,
    input: usize,
    selectors: Vec<Selector>,
}

impl ContentDigest {
    /// Of what `parts` say of the input at this position of `vertex`.
    #[must_use]
    pub fn new(worker: &Worker, vertex: &VertexName, input: usize, parts: &[ContentSelector]) -> Self {
        let selectors = parts.iter().map(selector).collect();
        Self { worker: worker.clone(), vertex: vertex.clone(), input, selectors }
    }

    /// Something that is not where the op looks for it, or cannot be read.
    fn failed(&self, error: lazyblob_cache::Error) -> OpError {
        match error.root() {
            lazyblob_cache::Error::Cancelled { .. } => OpError::Cancelled,
            _ => {
                let object = format!("input {} of {}", self.input, self.vertex.name);
                OpError::failed(Error::failed("read", object, error))
            }
        }
    }

    /// Reads what nobody has read before.
    async fn read(&self, cx: &LoadCx, tree: &ImmutableRef) -> Result<Digest, OpError> {
        let tables = self.worker.tables();
        let of = tables.of(tree).await.map_err(|error| self.failed(error))?;
        let known = of.hash.known(self.selectors.clone(), cx.cancellation()).await;
        if let Some(digest) = known.map_err(|error| self.failed(error))? {
            return Ok(digest);
        }
        let access = self.worker.access(cx);
        let view = cx.cancellation().run_until_cancelled(tree.view(&access)).await;
        let view = view.ok_or(OpError::Cancelled)?.map_err(|error| gone(0, error))?;
        let view = Arc::new(view);
        let digest = match Seen::open(Arc::clone(&view), of.root) {
            Ok(source) => of.hash.checksum(Box::new(source), self.selectors.clone(), cx.cancellation()).await,
            Err(error) => Err(error),
        };
        if digest.is_ok() {
            tables.keep(tree, &of).await;
        }
        if let Some(view) = Arc::into_inner(view) {
            // It was only looked at: what it is read for is done.
            if let Err(error) = view.close().await {
                tracing::warn!(%error, "a tree that was looked at stays mounted");
            }
        }
        digest.map_err(|error| self.failed(error))
    }
}

impl std::fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ContentDigest").field(&self.selectors).finish()
    }
}

#[async_trait]
impl SlowDigest<WorkerRef> for ContentDigest {
    async fn slow_digest(&self, cx: &LoadCx, input: &WorkerRef) -> Result<Digest, OpError> {
        match input.tree() {
            Some(tree) => self.read(cx, tree).await,
            None => of_nothing(&self.selectors).map_err(|error| self.failed(error)),
        }
    }

    fn looks_at(&self) -> String {
        let whole = [Selector::path("/")];
        let selectors = if self.selectors.is_empty() { &whole[..] } else { &self.selectors };
        selectors.iter().map(described).collect::<Vec<_>>().join(", ")
    }
}

/// What the content hash takes of a part: the paths of ops are from the root, whatever they begin with.
fn selector(part: &ContentSelector) -> Selector {
    Selector {
        path: paths::rooted(&part.path),
        follow: part.follow_links,
        wildcard: part.wildcard,
        include: part.include_patterns.clone(),
        exclude: part.exclude_patterns.clone(),
        required: part.required_paths.clone(),
    }
}

/// In words.
fn described(selector: &Selector) -> String {
    let mut text = selector.path.clone();
    for (word, patterns) in [("only", &selector.include), ("without", &selector.exclude)] {
        if !patterns.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, " ({word} {})", patterns.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_rooted_and_described() {
        let mut part = ContentSelector::path("a/../b/", true);
        part.exclude_patterns = vec!["*.md".into(), "x".into()];
        let selector = selector(&part);
        assert_eq!((selector.path.as_str(), selector.follow), ("/b", true));
        assert_eq!(described(&selector), "/b (without *.md, x)");
    }
}
