//! Reading a blob into its ingest, from where an earlier attempt ended.

use futures::stream::StreamExt;

use super::{Ingest, Ingests};
use crate::body::ByteStream;
use crate::error::{Mismatch, Result};
use crate::transfer::Blob;

/// How a blob came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was read from its source, the end of it at least.
    Stored,
    /// It is here: somebody else has stored it meanwhile.
    Present,
}

impl Ingests {
    /// Reads `blob` and stores it, going on where an unfinished one ends. The bytes are hashed once, as they come.
    ///
    /// While somebody else writes the blob, in this process or another, its source is not asked and no slot is held;
    /// `blob`'s [`Progress`](crate::Progress) is told whom it waits for. Several processes that want one blob fetch it
    /// once.
    ///
    /// When the source fails, or its stream ends with [`Error::Cancelled`](crate::Error::Cancelled), what came is saved
    /// before this returns; of a source that brought nothing nothing stays. When this is dropped, what the last save
    /// point has stays.
    ///
    /// # Errors
    /// The source's. [`Error::Integrity`](crate::Error::Integrity) for too many bytes or other ones than the digest
    /// names, of which nothing is kept; where the beginning is from an earlier attempt, all is read once more before
    /// that. [`Error::Io`](crate::Error::Io), after which what was durable is kept.
    pub async fn receive(&self, blob: &Blob) -> Result<Received> {
        let begin = self.begin_in_turn(blob);
        let Some(mut ingest) = blob.unless_cancelled(begin).await? else { return Ok(Received::Present) };
        let received = match fill(&mut ingest, blob).await {
            Ok(()) => ingest.publish().await,
            Err(error) => {
                ingest.release().await;
                Err(error)
            }
        };
        received.map(|()| Received::Stored).map_err(|error| blob.blame(error))
    }
}

/// Reads all that is missing. On return the bytes are the blob's; after an error, what can be kept is saved.
async fn fill(ingest: &mut Ingest, blob: &Blob) -> Result<()> {
    let mut bytes = blob.read_from(ingest.position()).await?;
    let mut resumed = ingest.position() > 0;
    loop {
        if let Err(error) = take(ingest, bytes).await {
            ingest.keep().await;
            return Err(error);
        }
        match ingest.verify().await? {
            Ok(()) => return Ok(()),
            // What an earlier attempt kept may be to blame, and today's source not.
            Err(mismatch @ Mismatch::Digest { .. }) if resumed => {
                let digest = blob.descriptor().digest();
                let said = format!(
                    "{digest}: {mismatch}, with its beginning from an earlier attempt; starting over"
                );
                tracing::warn!("{said}");
                blob.access().progress.note(&said);
                resumed = false;
                bytes = blob.read_from(0).await?;
            }
            Err(mismatch) => return Err(ingest.wrong(mismatch)),
        }
    }
}

async fn take(ingest: &mut Ingest, mut bytes: ByteStream) -> Result<()> {
    while let Some(chunk) = bytes.next().await {
        ingest.write(chunk?).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::stream;
    use oci_spec::image::Descriptor;

    use super::super::lock::tests::Woken;
    use super::*;
    use crate::Access;
    use crate::digest;
    use crate::error::Error;
    use crate::provider::{BlobInfo, Origin, Provider};
    use crate::transfer::{Retry, Settings};
    use crate::verify::Unverified;

    /// Says that it has nothing, or brings these bytes.
    #[derive(Debug)]
    struct Brings(Option<&'static [u8]>);

    #[async_trait]
    impl Provider for Brings {
        async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
            let bytes = self.0.ok_or_else(|| Error::not_found("read blob", blob.digest(), "nothing"))?;
            Ok(Unverified::new(range, stream::iter([Ok(Bytes::from_static(bytes))]).boxed()))
        }

        async fn info(&self, _: &Descriptor) -> Result<BlobInfo> {
            Ok(BlobInfo { size: None })
        }

        fn origin(&self) -> Origin {
            Origin { host: "memory".into(), repository: "source".into() }
        }
    }

    /// However a blob comes out, its files are let go where files are worked on, and not on a thread of the runtime.
    #[tokio::test]
    async fn a_claim_is_released_in_a_blocking_thread() {
        for brings in [None, Some(&b"by"[..]), Some(b"other"), Some(b"too many"), Some(b"bytes")] {
            let temp = tempfile::tempdir().unwrap();
            let ingests = Ingests::new(temp.path(), temp.path().join("ingest"));
            let blob = Descriptor::new("x/y".into(), 5, digest::sha256(b"bytes"));
            let call = ingests.waiters.of(blob.digest());
            let woken = Woken::by(&call);
            let settings = Settings { retry: Retry { tries: 1, ..Retry::default() }, ..Settings::default() };
            let source = Arc::new(Brings(brings)) as Arc<dyn Provider>;
            let blob = Blob::new(blob, &[source], settings, Access::anonymous());
            let received = ingests.receive(&blob).await;
            assert_eq!(received.is_ok(), brings == Some(b"bytes"), "{received:?}");
            let thread = woken.thread().expect("it was released by now");
            assert_ne!(thread, std::thread::current().id(), "{brings:?}");
        }
    }
}
