//! Bodies that break, lie or dawdle.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body::Body as _;

use crate::body::{self, Body, BoxError};
use crate::server::Dropped;

/// `body` breaks after `after` bytes.
pub(super) fn cut(body: Body, after: u64) -> Body {
    let length = body.size_hint().exact();
    let mut left = after;
    let cut = body::chunks(body).flat_map(move |chunk| {
        let mut items: Vec<Result<Bytes, BoxError>> = Vec::new();
        match chunk {
            Ok(chunk) if chunk.len() as u64 <= left => {
                left -= chunk.len() as u64;
                items.push(Ok(chunk));
            }
            Ok(chunk) => {
                let kept = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
                left = 0;
                items.push(Ok(chunk.slice(..kept)));
                items.push(Err(Box::new(Dropped)));
            }
            Err(error) => items.push(Err(error)),
        }
        futures::stream::iter(items)
    });
    let mut broken = false;
    let cut = cut.take_while(move |item| {
        let ended = std::mem::replace(&mut broken, item.is_err());
        std::future::ready(!ended)
    });
    let cut = cut.then(|item| async move {
        if item.is_err() {
            // hyper drops what it has not written yet; while we are not ready it writes.
            tokio::task::yield_now().await;
        }
        item
    });
    body::streaming(cut, length)
}

/// The byte at `at` of `body` is another.
pub(super) fn corrupt(body: Body, at: u64) -> Body {
    let length = body.size_hint().exact();
    let mut position = 0;
    let corrupted = body::chunks(body).map(move |chunk| {
        let chunk = chunk?;
        let start = position;
        position += chunk.len() as u64;
        if !(start..position).contains(&at) {
            return Ok(chunk);
        }
        let mut chunk = BytesMut::from(&chunk[..]);
        if let Some(byte) = usize::try_from(at - start).ok().and_then(|at| chunk.get_mut(at)) {
            // Stays printable in text, so that a manifest with it still parses.
            *byte ^= 1;
        }
        Ok::<_, BoxError>(chunk.freeze())
    });
    body::streaming(corrupted, length)
}

/// `body` comes in pieces with a pause before each.
pub(super) fn slow(body: Body, piece: usize, pause: Duration) -> Body {
    let length = body.size_hint().exact();
    let pieces = body::chunks(body).flat_map(move |chunk| {
        let items: Vec<Result<Bytes, BoxError>> = match chunk {
            Ok(chunk) => {
                let step = piece.max(1);
                let starts = (0..chunk.len()).step_by(step);
                starts.map(|start| Ok(chunk.slice(start..chunk.len().min(start + step)))).collect()
            }
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(items)
    });
    let paused = pieces.then(move |item| async move {
        tokio::time::sleep(pause).await;
        item
    });
    body::streaming(paused, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(pieces: &[&'static [u8]]) -> Body {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, BoxError>(Bytes::from_static(piece))).collect();
        body::streaming(futures::stream::iter(pieces), None)
    }

    async fn read(body: Body) -> (Vec<u8>, bool) {
        let mut chunks = std::pin::pin!(body::chunks(body));
        let mut read = Vec::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => read.extend_from_slice(&chunk),
                Err(_) => return (read, true),
            }
        }
        (read, false)
    }

    #[tokio::test]
    async fn cut_keeps_what_comes_before() {
        for (after, expected, broken) in
            [(0, &b""[..], true), (3, b"012", true), (5, b"01234", true), (6, b"012345", false)]
        {
            assert_eq!(
                read(cut(body_of(&[b"0123", b"45"]), after)).await,
                (expected.to_vec(), broken),
                "{after}"
            );
        }
    }

    #[tokio::test]
    async fn corrupt_changes_one_byte() {
        assert_eq!(read(corrupt(body_of(&[b"0123", b"45"]), 4)).await, (b"012355".to_vec(), false));
        assert_eq!(read(corrupt(body_of(&[b"0123"]), 4)).await, (b"0123".to_vec(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_pauses_before_each_piece() {
        let start = tokio::time::Instant::now();
        let slowed = slow(body_of(&[b"0123", b"45"]), 3, Duration::from_secs(1));
        assert_eq!(read(slowed).await, (b"012345".to_vec(), false));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}
