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
    /// While somebody else writes the blob, in this process or another, its source is not asked and no slot is taken;
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
        let begin = self.begin(blob.descriptor(), &*blob.access().progress);
        let Some(ingest) = blob.unless_cancelled(begin).await? else { return Ok(Received::Present) };
        let bytes = blob.read_from(ingest.position()).await?;
        fill(ingest, blob, bytes).await.map_err(|error| blob.blame(error))
    }
}

async fn fill(mut ingest: Ingest, blob: &Blob, mut bytes: ByteStream) -> Result<Received> {
    let mut resumed = ingest.position() > 0;
    loop {
        if let Err(error) = take(&mut ingest, bytes).await {
            ingest.keep().await;
            return Err(error);
        }
        match ingest.verify().await? {
            Ok(()) => break,
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
    ingest.publish().await?;
    Ok(Received::Stored)
}

async fn take(ingest: &mut Ingest, mut bytes: ByteStream) -> Result<()> {
    while let Some(chunk) = bytes.next().await {
        ingest.write(chunk?).await?;
    }
    Ok(())
}
