//! The digest of all that somebody reads.

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::header::Meta;
use super::path::{absolute, is_below, key};
use super::reading::{Reading, missing};
use super::selector::Selector;
use super::source::{Node, Source};
use super::sum::Sum;
use super::table::{OPERATION, Table};
use crate::error::{Error, Result, What};

impl Table {
    /// The digest of what `selectors` mean, in their order; of the whole tree where there are none. What is not known is
    /// read from `source`, and nothing else is; it is known from then on, even where this fails later. Blocks.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nothing is at a path without wildcards and patterns, at the end of a link that is
    /// followed, or where something required is; [`Error::Invalid`] for patterns and links that make no sense and for
    /// what changes while it is read; what the source returns; [`Error::Cancelled`].
    pub fn checksum(
        &mut self,
        source: &mut dyn Source,
        selectors: &[Selector],
        cancel: &CancellationToken,
    ) -> Result<Digest> {
        Ok(combine(selectors, |selector| self.sum(source, selector, cancel))?.digest())
    }

    /// The digest of what one selector means.
    ///
    /// # Errors
    /// As [`checksum`](Self::checksum).
    pub fn sum(
        &mut self,
        source: &mut dyn Source,
        selector: &Selector,
        cancel: &CancellationToken,
    ) -> Result<Sum> {
        if selector.path.contains('\0') {
            return Err(Error::not_found(
                OPERATION,
                selector.path.escape_debug(),
                "no file can be called so",
            ));
        }
        let mut reading = Reading { table: self, source, cancel };
        if selector.selects() {
            return reading.chosen(selector);
        }
        let key = reading.resolve(&key(&absolute(selector.path.as_bytes())), selector.follow)?;
        if reading.look(&key)?.is_none() {
            return Err(missing(&key));
        }
        for required in &selector.required {
            // By its path in the tree, or below the selector's.
            let below = format!("{}/{required}", selector.path);
            let is_there =
                reading.has(&below)? || is_at_or_below(required, &selector.path) && reading.has(required)?;
            if !is_there {
                return Err(lacking(selector, required));
            }
        }
        reading.sum(&key)
    }

    /// The same, if no source is needed to tell it: so that what is known already costs no mount and no pull.
    ///
    /// # Errors
    /// As [`checksum`](Self::checksum), but for what only a source can say.
    pub fn known(&mut self, selectors: &[Selector]) -> Result<Option<Digest>> {
        let mut nobody = Nobody { is_asked: false };
        match self.checksum(&mut nobody, selectors, &CancellationToken::new()) {
            Err(_) if nobody.is_asked => Ok(None),
            other => other.map(Some),
        }
    }
}

/// The digest of what `selectors` mean of nothing: the result of a build step that has no layers.
///
/// # Errors
/// [`Error::NotFound`] for every path but the root.
pub fn of_nothing(selectors: &[Selector]) -> Result<Digest> {
    let sum = combine(selectors, |selector| {
        let key = key(&absolute(selector.path.as_bytes()));
        if key.is_empty() { Ok(Sum::of(b"")) } else { Err(missing(&key)) }
    })?;
    Ok(sum.digest())
}

/// That something required is not there.
pub(super) fn lacking(selector: &Selector, required: &str) -> Error {
    Error::not_found(OPERATION, &selector.path, format_args!("nothing of it is {required}"))
}

/// Whether one path is another one or below it, by their words.
fn is_at_or_below(path: &str, directory: &str) -> bool {
    let (path, directory) = (key(&absolute(path.as_bytes())), key(&absolute(directory.as_bytes())));
    path == directory || is_below(&path, &directory)
}

/// One more sum over those of all selectors.
fn combine(selectors: &[Selector], mut each: impl FnMut(&Selector) -> Result<Sum>) -> Result<Sum> {
    let whole = [Selector::path("/")];
    let selectors = if selectors.is_empty() { &whole } else { selectors };
    let mut hasher = Sha256::new();
    for (at, selector) in selectors.iter().enumerate() {
        if at > 0 {
            hasher.update([0]);
        }
        hasher.update(each(selector)?.text());
    }
    Ok(Sum::finish(hasher))
}

/// A source that is not there.
struct Nobody {
    is_asked: bool,
}

impl Nobody {
    fn no<T>(&mut self) -> Result<T> {
        self.is_asked = true;
        Err(Error::Cancelled { what: What::new(OPERATION, "what is known of it") })
    }
}

impl Source for Nobody {
    fn node(&mut self, _: &[u8]) -> Result<Option<Node>> {
        self.no()
    }

    fn list(&mut self, _: &[u8]) -> Result<Vec<(Vec<u8>, Node)>> {
        self.no()
    }

    fn meta(&mut self, _: &[u8]) -> Result<Meta> {
        self.no()
    }

    fn read(&mut self, _: &[u8], _: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.no()
    }
}
