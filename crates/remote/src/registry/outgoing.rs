//! A blob on its way into a request: what completes it leaves last, once everything has been verified.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use futures::stream::{Stream, StreamExt};

use crate::body::BoxError;
use crate::error::Error;
use crate::verify::Verified;

/// How a stream that went into a request body has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Mutex<Ended>>);

#[derive(Debug, Default)]
enum Ended {
    #[default]
    NotBegun,
    Begun,
    Complete,
    Failed(Option<Error>),
}

impl Ending {
    fn set(&self, ended: Ended) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }

    /// Whether anything went into the connection.
    pub(super) fn begun(&self) -> bool {
        !matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Ended::NotBegun)
    }

    pub(super) fn complete(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Ended::Complete)
    }

    pub(super) fn error(&self) -> Option<Error> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Ended::Failed(error) => error.take(),
            _ => None,
        }
    }
}

/// `source`, a blob of `size` bytes, as a request body without its first `skip` bytes, which are verified but not sent.
/// The connection takes exactly the announced bytes and then asks no more, so what completes them is held back: it leaves
/// only after the whole blob has been verified.
pub(super) fn watched(
    source: Verified,
    size: u64,
    skip: u64,
) -> (impl Stream<Item = Result<Bytes, BoxError>> + Send, Ending) {
    let ending = Ending::default();
    let end = ending.clone();
    let stream = futures::stream::unfold(
        (source, size, skip, end),
        |(mut source, mut remaining, mut skip, end)| async move {
            let mut held: Option<Bytes> = None;
            loop {
                match source.next().await {
                    Some(Ok(mut bytes)) => {
                        end.set(Ended::Begun);
                        remaining = remaining.saturating_sub(bytes.len() as u64);
                        let there = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                        skip -= there as u64;
                        bytes.advance(there);
                        if remaining > 0 {
                            if bytes.is_empty() {
                                continue;
                            }
                            return Some((Ok(bytes), (source, remaining, skip, end)));
                        }
                        // After the last bytes there may still be an empty chunk.
                        if !bytes.is_empty() {
                            held = Some(bytes);
                        }
                    }
                    Some(Err(error)) => {
                        let text = error.to_string();
                        end.set(Ended::Failed(Some(error)));
                        return Some((Err(BoxError::from(text)), (source, remaining, skip, end)));
                    }
                    None => {
                        let failed =
                            matches!(*end.0.lock().unwrap_or_else(PoisonError::into_inner), Ended::Failed(_));
                        if !failed {
                            end.set(Ended::Complete);
                        }
                        return held.take().map(|last| (Ok(last), (source, remaining, skip, end)));
                    }
                }
            }
        },
    );
    (stream, ending)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use oci_spec::image::{Descriptor, MediaType};

    use super::*;
    use crate::digest;

    fn upload(
        chunks: &'static [&'static str],
        blob: &str,
    ) -> (impl Stream<Item = Result<Bytes, BoxError>> + Send, Ending) {
        let descriptor =
            Descriptor::new(MediaType::ImageLayer, blob.len() as u64, digest::sha256(blob.as_bytes()));
        let source = futures::stream::iter(chunks).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
        // A source that does not end by itself shows what is asked of it too early.
        let source = source.chain(futures::stream::pending().take(usize::from(chunks.concat() != blob)));
        watched(Verified::new(&descriptor, "a source", source.boxed()).unwrap(), descriptor.size(), 0)
    }

    #[test]
    fn chunks_leave_as_they_come_and_the_last_one_once_verified() {
        let (unfinished, ending) = upload(&["ab", "cd"], "abcdef");
        let mut unfinished = Box::pin(unfinished);
        for expected in ["ab", "cd"] {
            assert_eq!(unfinished.next().now_or_never().unwrap().unwrap().unwrap(), expected);
        }
        assert!(unfinished.next().now_or_never().is_none() && !ending.complete());

        let (whole, ending) = upload(&["ab", "cd", "ef", ""], "abcdef");
        let sent: Vec<Bytes> = whole.map(Result::unwrap).collect().now_or_never().unwrap();
        assert_eq!(sent.concat(), b"abcdef");
        assert!(ending.complete());
    }

    #[test]
    fn the_bytes_that_complete_a_wrong_blob_never_leave() {
        let descriptor = Descriptor::new(MediaType::ImageLayer, 4, digest::sha256(b"abcd"));
        for wrong in [&["ab", "XX"][..], &["ab", "cd", "e"], &["ab", "c"]] {
            let source = futures::stream::iter(wrong).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
            let source = Verified::new(&descriptor, "a source", source.boxed()).unwrap();
            let (stream, ending) = watched(source, 4, 0);
            let sent: Vec<_> = stream.collect().now_or_never().unwrap();
            let bytes: usize = sent.iter().filter_map(|chunk| chunk.as_ref().ok()).map(Bytes::len).sum();
            assert!(bytes < 4 && sent.last().is_some_and(Result::is_err), "{wrong:?}: {sent:?}");
            assert!(matches!(ending.error(), Some(Error::Integrity { .. })) && !ending.complete());
        }
    }
    #[test]
    fn what_the_host_has_is_verified_and_not_sent() {
        let descriptor = Descriptor::new(MediaType::ImageLayer, 6, digest::sha256(b"abcdef"));
        for (skip, expected) in [(0, "abcdef"), (1, "bcdef"), (2, "cdef"), (3, "def"), (5, "f")] {
            for wrong in [false, true] {
                let chunks = [if wrong { "XX" } else { "ab" }, "cd", "ef"];
                let source =
                    futures::stream::iter(chunks).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
                let source = Verified::new(&descriptor, "a source", source.boxed()).unwrap();
                let (stream, ending) = watched(source, 6, skip);
                let sent: Vec<_> = stream.collect().now_or_never().unwrap();
                let bytes: Vec<_> = sent.iter().filter_map(|chunk| chunk.as_ref().ok()).collect();
                assert!(bytes.iter().all(|bytes| !bytes.is_empty()));
                let bytes: String = bytes.iter().map(|bytes| std::str::from_utf8(bytes).unwrap()).collect();
                assert_eq!(bytes == expected && ending.complete(), !wrong, "{skip}: {sent:?}");
            }
        }
    }
}
