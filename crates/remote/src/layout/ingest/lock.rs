//! One writer per blob: the flock of `<ingest dir>/<alg>-<hex>/lock`, within a process and between processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use super::{partial, state};
use crate::layout::disk;
use crate::layout::flock::{self, FileLock, Holder};

/// The right to write a partial. The last one to drop it lets others in, and removes a partial that has no save point:
/// nobody could go on from it.
///
/// That is for blocking threads: who has come to an end, good or bad, drops it in one. Only where a future is dropped is
/// it done right there, so that the partial is free when the future is gone; it is a handful of short calls, and none
/// of them waits for what was written to be durable.
#[derive(Debug)]
pub(super) struct Claim {
    dir: PathBuf,
    lock: FileLock,
    released: Arc<Notify>,
}

/// The outcome of one attempt to get a [`Claim`].
pub(super) type Attempt = flock::Attempt<Claim>;

impl Claim {
    /// Tries to get hold of the partial in `dir`. `create` makes one where there is none.
    pub(super) fn attempt(dir: &Path, create: bool, released: &Arc<Notify>) -> io::Result<Attempt> {
        loop {
            if create {
                make(dir)?;
            }
            // A layout may have come with links that lead elsewhere.
            partial::refuse_links(dir)?;
            return Ok(match FileLock::attempt(&lock_path(dir))? {
                flock::Attempt::Held(lock) => {
                    Attempt::Held(Self { dir: dir.to_owned(), lock, released: Arc::clone(released) })
                }
                // Its last writer has removed it just now.
                flock::Attempt::Missing if create => continue,
                flock::Attempt::Missing => Attempt::Missing,
                flock::Attempt::Busy(holder) => Attempt::Busy(holder),
            });
        }
    }

    /// What those who wait are woken with when it is dropped.
    #[cfg(test)]
    pub(super) fn released(&self) -> &Arc<Notify> {
        &self.released
    }

    /// Where the partial is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells those who wait whom they wait for: this process, as `name` has it. `size` is the blob's.
    pub(super) fn sign(&self, size: u64, name: Option<&str>) -> io::Result<()> {
        self.lock.sign(&Holder::this_process(name).making(size))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A lock file that is gone was removed with its partial; what is there now is somebody else's.
        let ours = self.lock.is_named();
        // Where it cannot be known whether there is a state, it is kept.
        match state::path(&self.dir).try_exists() {
            Ok(false) if ours => partial::remove(&self.dir),
            _ => self.lock.blank(),
        }
        self.lock.let_go();
        self.released.notify_waiters();
    }
}

/// Whether somebody writes the partial in `dir`, and who.
pub(super) fn holder(dir: &Path) -> io::Result<(bool, Option<Holder>)> {
    flock::holder(&lock_path(dir))
}

/// Where the lock of the partial in `dir` is.
pub(super) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Creates the directory of a partial. Its name is made durable with the first save point, not here.
fn make(dir: &Path) -> io::Result<()> {
    loop {
        return match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk::create_dirs(disk::parent_of(dir))?;
                continue;
            }
            other => other,
        };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Wake};
    use std::thread::{self, ThreadId};

    use super::*;

    /// Waits for a claim to be released, and sees on which thread it was.
    pub(in super::super) struct Woken {
        on: Arc<On>,
        _waits: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    #[derive(Default)]
    struct On(Mutex<Option<ThreadId>>);

    impl Wake for On {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = Some(thread::current().id());
        }
    }

    impl Woken {
        pub(in super::super) fn by(released: &Arc<Notify>) -> Self {
            let (on, mut waits) = (Arc::<On>::default(), Box::pin(Arc::clone(released).notified_owned()));
            let waker = Arc::clone(&on).into();
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            Self { on, _waits: waits }
        }

        pub(in super::super) fn thread(&self) -> Option<ThreadId> {
            *self.on.0.lock().unwrap()
        }
    }

    fn claim(dir: &Path) -> Claim {
        match Claim::attempt(dir, true, &Arc::default()).unwrap() {
            Attempt::Held(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    /// Row 98: who has removed a partial does not remove what somebody else begins in its place.
    #[test]
    fn an_old_claim_spares_what_is_new() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("p");
        let old = claim(&dir);
        partial::remove(&dir);
        let new = claim(&dir);
        fs::write(partial::data_path(&dir), "new").unwrap();
        drop(old);
        assert!(partial::data_path(&dir).exists());
        drop(new);
        assert!(!dir.exists(), "nothing was saved");
    }

    #[test]
    fn a_claim_says_whose_it_is_and_is_silent_after_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("p");
        let held = claim(&dir);
        held.sign(17, Some("program verb")).unwrap();
        let Attempt::Busy(Some(found)) = Claim::attempt(&dir, false, &Arc::default()).unwrap() else {
            panic!()
        };
        assert_eq!((found.pid, found.size), (std::process::id(), Some(17)));
        assert_eq!(found.to_string(), format!("process {}: program verb", std::process::id()));
        let mode = fs::metadata(lock_path(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for nobody else");
        assert_eq!(holder(&dir).unwrap(), (true, Some(found)));
        fs::write(state::path(&dir), "saved").unwrap();
        drop(held);
        assert_eq!(holder(&dir).unwrap(), (false, None));
        assert_eq!(fs::read(lock_path(&dir)).unwrap(), b"");
        assert!(matches!(
            Claim::attempt(&temp.path().join("q"), false, &Arc::default()),
            Ok(Attempt::Missing)
        ));
        assert!(!temp.path().join("q").exists());
    }
}
