//! What every backend must do: the conformance suite of [`Backend`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use oci_spec::image::{Descriptor, Digest, MediaType};

use crate::digest::{Hasher, sha256};
use crate::error::Error;
use crate::server::sync::lock;
use crate::server::{Backend, Change, Named};

/// Checks an empty backend against the contract of [`Backend`] and leaves things in it.
///
/// # Panics
/// Where it breaks the contract.
pub async fn check_backend(backend: &dyn Backend) {
    blobs_are_stored_whole_or_not_at_all(backend).await;
    ranges_are_exact(backend).await;
    withdrawn_appends_are_all_or_nothing(backend).await;
    names_follow_changes_in_their_order(backend).await;
}

async fn store(backend: &dyn Backend, pieces: &[&[u8]], digest: &Digest) -> Result<u64, Error> {
    let mut ingest = backend.ingest().await.expect("an ingest begins");
    let mut expected = 0;
    for piece in pieces {
        ingest.append(vec![Bytes::copy_from_slice(piece)]).await.expect("an ingest takes bytes");
        expected += piece.len() as u64;
        assert_eq!(ingest.position(), expected, "the position follows the bytes");
    }
    assert_eq!(backend.size(digest).await.expect("a size"), None, "nothing is visible before the commit");
    ingest.commit(digest).await
}

async fn read(backend: &dyn Backend, digest: &Digest, start: u64, end: u64) -> Bytes {
    let mut stream = backend.read(digest, start..end).await.expect("a blob that is there can be read");
    let mut whole = BytesMut::new();
    while let Some(piece) = stream.next().await {
        whole.extend_from_slice(&piece.expect("its bytes come"));
    }
    whole.freeze()
}

async fn blobs_are_stored_whole_or_not_at_all(backend: &dyn Backend) {
    let digest = sha256(b"0123456789");
    let wrong = store(backend, &[b"012345678"], &digest).await;
    assert!(matches!(wrong, Err(Error::Integrity { .. })), "another content than promised: {wrong:?}");
    assert_eq!(backend.size(&digest).await.expect("a size"), None, "and nothing of it is stored");
    let missing = backend.read(&digest, 0..10).await.err().expect("what is not there cannot be read");
    assert!(missing.is_not_found(), "{missing}");

    let mut dropped = backend.ingest().await.expect("an ingest begins");
    dropped.append(vec![Bytes::from_static(b"0123456789")]).await.expect("an ingest takes bytes");
    dropped.discard().await;
    assert_eq!(backend.size(&digest).await.expect("a size"), None, "what is discarded is not stored");

    assert_eq!(store(backend, &[b"0123", b"456789"], &digest).await.expect("it is stored"), 10);
    assert_eq!(backend.size(&digest).await.expect("a size"), Some(10));
    let mut again = backend.ingest().await.expect("an ingest begins");
    again.append(vec![Bytes::from_static(b"0123456789")]).await.expect("an ingest takes bytes");
    assert_eq!(again.commit(&digest).await.expect("a blob may come twice"), 10);

    assert_eq!(store(backend, &[], &sha256(b"")).await.expect("a blob may be empty"), 0);
    let mut hasher = Hasher::new(&"sha512".into()).expect("sha512 is known");
    hasher.update(b"long");
    let long: Digest = hasher.finish().parse().expect("a digest");
    assert_eq!(store(backend, &[b"lo", b"ng"], &long).await.expect("sha512 is a digest too"), 4);
}

async fn ranges_are_exact(backend: &dyn Backend) {
    let blob: Vec<u8> = (0..2_000_003_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let digest = sha256(&blob);
    store(backend, &[&blob], &digest).await.expect("it is stored");
    for (start, end) in [(0, blob.len()), (0, 1), (7, 7), (999_999, 1_999_999), (blob.len() - 1, blob.len())]
    {
        let part = read(backend, &digest, start as u64, end as u64).await;
        assert!(part == blob[start..end], "bytes {start} to {end}");
    }
}

async fn withdrawn_appends_are_all_or_nothing(backend: &dyn Backend) {
    let mut ingest = backend.ingest().await.expect("an ingest begins");
    // One poll begins the work; then the caller goes away.
    let _ = ingest.append(vec![Bytes::from_static(b"first "), Bytes::from_static(b"piece")]).now_or_never();
    ingest.settle().await;
    let position = ingest.position();
    assert!(position == 0 || position == 11, "{position}");
    if position == 0 {
        ingest.append(vec![Bytes::from_static(b"first piece")]).await.expect("an ingest takes bytes");
    }
    let digest = sha256(b"first piece");
    assert_eq!(ingest.commit(&digest).await.expect("it is stored"), 11);
}

async fn names_follow_changes_in_their_order(backend: &dyn Backend) {
    let manifest = |text: &str| Descriptor::new(MediaType::ImageManifest, 2, sha256(text.as_bytes()));
    let absent = vec![sha256(b"elsewhere")];
    let order = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let changes = (0..20).map(|n| {
        let (order, calls) = (Arc::clone(&order), Arc::clone(&calls));
        let text = format!("manifest {n}");
        let change = Change::Put {
            manifest: Box::new(manifest(&text)),
            absent: absent.clone(),
            tag: Some("latest".to_owned()),
        };
        let applied = Box::new(move || {
            calls.fetch_add(1, Ordering::Relaxed);
            lock(&order).push(text);
        });
        backend.change("suite/names", change, applied)
    });
    for result in futures::future::join_all(changes).await {
        result.expect("a change is made");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 20, "every change is told once");
    let names = backend.names().await.expect("names");
    let ours: Vec<&Named> = names.iter().filter(|named| named.repository == "suite/names").collect();
    assert_eq!(ours.len(), 20, "what a tag leaves behind stays by digest");
    let tagged: Vec<_> = ours.iter().filter(|named| named.tag.as_deref() == Some("latest")).collect();
    let last = lock(&order).last().map(|text| manifest(text));
    assert_eq!(
        tagged.iter().map(|named| named.manifest.clone()).next(),
        last,
        "the last one told has the tag"
    );
    assert_eq!((tagged.len(), &tagged[0].absent), (1, &absent));

    let last = last.expect("there is one");
    backend
        .change("suite/names", Change::Delete(last.digest().clone()), Box::new(|| ()))
        .await
        .expect("deleted");
    let names = backend.names().await.expect("names");
    assert!(names.iter().all(|named| named.tag.is_none() && named.manifest != last));
}
