//! Writing one blob: hashed once as it comes, saved now and then, visible when it is whole and verified.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::Descriptor;

use super::follow::{Board, Writer};
use super::lock::Claim;
use super::partial::Start;
use super::save::Saver;
use super::{IngestSettings, partial};
use crate::error::{Error, Mismatch, Result, What};
use crate::layout::disk;
use crate::layout::sink::Sink;
use crate::verify::Verifier;

/// A blob being written; nobody else writes it meanwhile. Only [`Ingest::commit`] makes it visible.
///
/// [`Ingest::release`] keeps what the last save point has; without one, nothing is left. Dropping it does the same where
/// it is dropped, which takes a few file operations. Dropping the future of one of its methods leaves it good for nothing
/// but one of these.
#[derive(Debug)]
#[must_use = "nothing is stored before commit"]
pub struct Ingest {
    /// Before the claim: see [`Writer`].
    followed: Writer,
    what: What,
    blob: Descriptor,
    place: PathBuf,
    /// Has seen every byte taken.
    verifier: Verifier,
    /// Has seen exactly the bytes in the file: where a failed write falls back to.
    written: Verifier,
    sink: Sink<Arc<Claim>>,
    saver: Saver,
    /// A return to the first byte has begun and not ended: the file may be cut or not.
    restarting: bool,
    data: Arc<File>,
    claim: Arc<Claim>,
}

impl Ingest {
    pub(super) fn new(
        what: What,
        blob: Descriptor,
        place: PathBuf,
        claim: Claim,
        start: Start,
        settings: IngestSettings,
        board: Arc<Board>,
    ) -> Self {
        let Start { data, verifier, started } = start;
        let (data, claim, offset) = (Arc::new(data), Arc::new(claim), verifier.position());
        let path = partial::data_path(claim.dir());
        let sink = Sink::new(Arc::clone(&data), path, what.clone(), offset, Arc::clone(&claim));
        let files = (Arc::clone(&data), Arc::clone(&claim));
        let saver = Saver::new(what.clone(), blob.clone(), files.0, files.1, (started, offset), settings);
        let written = verifier.clone();
        let followed = Writer::new(board, Arc::clone(&data), offset);
        Self { followed, what, blob, place, verifier, written, sink, saver, restarting: false, data, claim }
    }

    /// Bytes taken so far; those of an earlier run count. The next bytes written are the blob's from here on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.verifier.position()
    }

    /// Bytes that the next run can go on from if this one is killed now.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.saver.saved()
    }

    /// Takes the next bytes, and makes a save point beside them when one is due.
    ///
    /// # Errors
    /// [`Error::Integrity`] as soon as there are too many: then nothing of the blob is kept. [`Error::Io`], after which
    /// [`Ingest::position`] is where the file ends.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.check()?;
        if let Err(mismatch) = self.verifier.update(&chunk) {
            self.restart().await?;
            return Err(self.wrong(mismatch));
        }
        let written = self.sink.write(chunk).await;
        self.passed(written)?;
        if self.sink.is_flushed() { self.saver.pass(&self.written).await } else { Ok(()) }
    }

    /// Makes a save point: on return everything up to [`Ingest::position`] is durable, and a later run goes on there.
    ///
    /// # Errors
    /// [`Error::Io`]; the save point before stays.
    pub async fn save(&mut self) -> Result<()> {
        self.flush().await?;
        self.saver.save(&self.written).await
    }

    /// Back to the first byte, without what was saved.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn restart(&mut self) -> Result<()> {
        self.check()?;
        if let Err(error) = self.saver.settle().await {
            tracing::debug!(%error, "the save point was not made; it is not needed any more");
        }
        let (claim, data) = (Arc::clone(&self.claim), Arc::clone(&self.data));
        self.restarting = true;
        self.followed.restarting();
        self.blocking(move || {
            partial::forget(claim.dir())?;
            data.set_len(0)
        })
        .await?;
        self.verifier = Verifier::new(&self.blob)?;
        self.written = self.verifier.clone();
        self.sink.rewind(0);
        self.saver.forget();
        self.followed.restarted();
        self.restarting = false;
        Ok(())
    }

    /// Verifies the whole, makes it durable and then visible.
    ///
    /// # Errors
    /// [`Error::Integrity`]: too few bytes are kept for a later run to go on from, as after a source that broke; of
    /// bytes with another digest nothing is. [`Error::Io`]; what was durable is kept.
    pub async fn commit(mut self) -> Result<()> {
        let error = match self.verify().await {
            Ok(Ok(())) => return self.publish().await,
            Ok(Err(mismatch)) => self.wrong(mismatch),
            Err(error) => error,
        };
        self.release().await;
        Err(error)
    }

    /// Lets others go on with what the last save point has. What was never saved is removed.
    pub async fn release(self) {
        let what = self.what.clone();
        // The only error is that of a runtime that shuts down, which drops it.
        drop(disk::blocking(|| what, move || drop(self)).await);
    }

    /// Holds the bytes against the descriptor. After [`Mismatch::Size`] they are saved, after [`Mismatch::Digest`] the
    /// ingest is at its first byte again.
    pub(super) async fn verify(&mut self) -> Result<Result<(), Mismatch>> {
        if let Err(error) = self.flush().await {
            self.keep().await;
            return Err(error);
        }
        let verified = self.verifier.clone().finish();
        match &verified {
            Ok(()) => {}
            Err(Mismatch::Digest { .. }) => self.restart().await?,
            Err(_) => self.keep().await,
        }
        Ok(verified)
    }

    /// Makes verified bytes durable, then visible.
    pub(super) async fn publish(mut self) -> Result<()> {
        if let Err(error) = self.saver.check().await {
            self.release().await;
            return Err(error);
        }
        let what = self.what.clone();
        let publish = move || match self.make_visible() {
            Ok(()) => {
                self.followed.published();
                // Here, and not on the caller's thread.
                drop(self);
                Ok(())
            }
            Err(unpublished) => Err((Box::new(self), unpublished)),
        };
        let Err((mut ingest, unpublished)) = disk::blocking(|| what, publish).await? else { return Ok(()) };
        let Unpublished { is_durable, path, source } = unpublished;
        if is_durable {
            // Everything is there: the next run has but to try this again.
            ingest.keep().await;
        }
        let what = ingest.what.clone();
        ingest.release().await;
        Err(Error::Io { what, path, source })
    }

    /// [`Ingest::publish`] in a blocking thread.
    fn make_visible(&self) -> Result<(), Unpublished> {
        let (dir, size) = (self.claim.dir(), self.blob.size());
        let sync = || match self.data.metadata()?.len() {
            length if length == size => self.data.sync_data(),
            // What was hashed is what was written, unless somebody else has had his hands on the file.
            length => Err(io::Error::other(format!("it has {length} bytes where {size} were written"))),
        };
        let rename = || {
            disk::create_dirs(disk::parent_of(&self.place))?;
            fs::rename(partial::data_path(dir), &self.place)?;
            disk::sync_dir(disk::parent_of(&self.place))?;
            partial::remove(dir);
            Ok(())
        };
        let failed = |is_durable, path| move |source| Unpublished { is_durable, path, source };
        sync().map_err(failed(false, partial::data_path(dir)))?;
        rename().map_err(failed(true, self.place.clone()))
    }

    /// Saves what can be saved, after a failure that matters more than one to do so.
    pub(super) async fn keep(&mut self) {
        let saved = async {
            self.check()?;
            if let Err(error) = self.flush().await {
                tracing::debug!(%error, "only what was written before is kept");
            }
            // A full disk may have no room for a state beside the end of a write that failed.
            let (data, length) = (Arc::clone(&self.data), self.written.position());
            self.blocking(move || data.set_len(length)).await?;
            self.saver.save(&self.written).await
        };
        if let Err(error) = saved.await {
            tracing::warn!(%error, saved = self.saved(), "the end of an unfinished blob is lost");
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.check()?;
        let flushed = self.sink.flush().await;
        self.passed(flushed)
    }

    /// Notes what is in the file after a write.
    fn passed(&mut self, written: Result<()>) -> Result<()> {
        match &written {
            Ok(()) if self.sink.is_flushed() => {
                self.written = self.verifier.clone();
                self.followed.advanced(self.written.position());
            }
            Ok(()) => {}
            Err(_) => self.verifier = self.written.clone(),
        }
        written
    }

    fn check(&self) -> Result<()> {
        let unknown = self.sink.is_torn() || self.restarting;
        if unknown { Err(Error::Cancelled { what: self.what.clone() }) } else { Ok(()) }
    }

    pub(super) fn wrong(&self, mismatch: Mismatch) -> Error {
        Error::Integrity { what: self.what.clone(), mismatch }
    }

    /// Runs `work` on the partial's data in a blocking thread.
    async fn blocking(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<()> {
        let done = disk::blocking(|| self.what.clone(), work).await?;
        let path = partial::data_path(self.claim.dir());
        done.map_err(|source| Error::Io { what: self.what.clone(), path, source })
    }
}

/// Why a verified blob is not visible.
#[derive(Debug)]
struct Unpublished {
    /// Its bytes are on disk all the same.
    is_durable: bool,
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::lock::Attempt;
    use super::super::lock::tests::Woken;
    use super::*;
    use crate::digest;

    fn ingest(dir: &std::path::Path, data: File, blob: &Descriptor) -> Ingest {
        let Attempt::Held(claim) = Claim::attempt(dir, true, &Arc::default()).unwrap() else { panic!() };
        let start = Start { data, verifier: Verifier::new(blob).unwrap(), started: 0 };
        let what = What::new("write blob", blob.digest());
        Ingest::new(
            what,
            blob.clone(),
            dir.join("place"),
            claim,
            start,
            IngestSettings::default(),
            Arc::default(),
        )
    }

    /// Row 95a: a full disk is an error at once, which names the file.
    #[tokio::test]
    async fn a_full_disk_is_an_error_that_names_the_data() {
        let temp = tempfile::tempdir().unwrap();
        let bytes = Bytes::from(vec![1; 2 * disk::CHUNK]);
        let blob = Descriptor::new("x/y".into(), 2 * bytes.len() as u64, digest::sha256(b"of no matter"));
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let mut ingest = ingest(&temp.path().join("p"), full, &blob);
        let error = ingest.write(bytes).await.unwrap_err();
        let Error::Io { path, source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert_eq!(*path, temp.path().join("p/data"));
        assert_eq!(ingest.position(), 0, "where the file ends");
    }

    /// Polls `future` once while the only blocking thread is busy with something else, and drops it.
    async fn drop_in_the_middle(future: impl Future<Output = Result<()>>) {
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let other = tokio::task::spawn_blocking(move || busy.recv());
        assert!(futures::poll!(Box::pin(future)).is_pending());
        drop(free);
        assert!(other.await.unwrap().is_err());
    }

    /// Who drops a future in the middle does not know what is in the file, and does not commit it.
    #[test]
    fn an_ingest_whose_file_is_not_known_commits_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let bytes = Bytes::from(vec![1; disk::CHUNK]);
        let blob = Descriptor::new("x/y".into(), bytes.len() as u64, digest::sha256(&bytes));
        runtime.block_on(async {
            for name in ["write", "restart"] {
                let dir = temp.path().join(name);
                let mut ingest = ingest(&dir, tempfile::tempfile().unwrap(), &blob);
                if name == "write" {
                    drop_in_the_middle(ingest.write(bytes.clone())).await;
                } else {
                    ingest.write(bytes.clone()).await.unwrap();
                    drop_in_the_middle(ingest.restart()).await;
                }
                assert!(matches!(ingest.write(Bytes::new()).await, Err(Error::Cancelled { .. })), "{name}");
                assert!(matches!(ingest.save().await, Err(Error::Cancelled { .. })), "{name}");
                assert!(matches!(ingest.commit().await, Err(Error::Cancelled { .. })), "{name}");
                assert!(!dir.join("place").exists());
            }
        });
    }

    #[tokio::test]
    async fn an_ingest_is_released_in_a_blocking_thread() {
        let temp = tempfile::tempdir().unwrap();
        let bytes = Bytes::from_static(b"bytes");
        let blob = Descriptor::new("x/y".into(), bytes.len() as u64, digest::sha256(&bytes));
        for name in ["committed", "short", "wrong", "cut", "in the way", "given up"] {
            let (dir, data) = (temp.path().join(name), tempfile::tempfile().unwrap());
            let mut ingest = ingest(&dir, data.try_clone().unwrap(), &blob);
            fs::write(dir.join("data"), "").unwrap();
            let woken = Woken::by(ingest.claim.released());
            match name {
                "short" => ingest.write(bytes.slice(1..)).await.unwrap(),
                "wrong" => ingest.write(Bytes::from_static(b"other")).await.unwrap(),
                _ => ingest.write(bytes.clone()).await.unwrap(),
            }
            match name {
                "cut" => {
                    ingest.save().await.unwrap();
                    data.set_len(3).unwrap();
                }
                "in the way" => fs::create_dir(dir.join("place")).unwrap(),
                _ => {}
            }
            if name == "given up" {
                ingest.release().await;
            } else {
                assert_eq!(ingest.commit().await.is_ok(), name == "committed", "{name}");
            }
            assert_ne!(woken.thread().expect(name), std::thread::current().id(), "{name}");
        }
    }

    /// Row 73b: a file that somebody else has cut meanwhile does not become the blob.
    #[tokio::test]
    async fn a_file_of_another_length_is_not_committed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("p");
        let bytes = Bytes::from_static(b"bytes");
        let blob = Descriptor::new("x/y".into(), bytes.len() as u64, digest::sha256(&bytes));
        let data = tempfile::tempfile().unwrap();
        let mut ingest = ingest(&dir, data.try_clone().unwrap(), &blob);
        ingest.write(bytes).await.unwrap();
        ingest.save().await.unwrap();
        data.set_len(3).unwrap();
        let error = ingest.commit().await.unwrap_err();
        assert!(error.to_string().contains("it has 3 bytes where 5 were written"), "{error}");
        assert!(!dir.join("place").exists());
    }

    /// Row 95b: the system tells once that bytes did not reach the disk. After that nothing is called durable.
    #[tokio::test]
    async fn after_a_failed_save_nothing_is_called_durable() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("p");
        let bytes = Bytes::from_static(b"bytes");
        let blob = Descriptor::new("x/y".into(), bytes.len() as u64, digest::sha256(&bytes));
        let mut ingest = ingest(&dir, tempfile::tempfile().unwrap(), &blob);
        ingest.write(bytes).await.unwrap();
        // No state can be written where a directory is.
        fs::create_dir(dir.join("state.new")).unwrap();
        ingest.save().await.unwrap_err();
        fs::remove_dir(dir.join("state.new")).unwrap();
        let error = ingest.save().await.unwrap_err();
        assert!(error.to_string().contains("lost on their way to the disk"), "{error}");
        ingest.keep().await;
        assert_eq!(ingest.saved(), 0);
        assert!(ingest.commit().await.is_err());
        assert!(!dir.join("place").exists());
    }
}
