//! One maker per thing, within a process and between processes: a flocked file that says who has it.
//!
//! Who waits for a [`FileLock`] is woken at once when it is let go in the same process, and looks again and again, in
//! pauses that grow, where another process has it: see [`wait`].

mod holder;
mod per_key;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use tokio::sync::Notify;

pub use holder::Holder;
pub(super) use holder::{millis, now};
pub use per_key::PerKey;

/// The outcome of one attempt to get hold of something.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is ours.
    Held(T),
    /// Somebody else has it, and may have said who that is.
    Busy(Option<Holder>),
    /// There is no such thing, and none was to be made.
    Missing,
}

/// A file that is flocked until this is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Tries once to lock the file at `path`, which is created if missing. There is none where the directory is missing.
    ///
    /// # Errors
    /// Those of the system, other than that the directory is missing.
    pub fn attempt(path: &Path) -> io::Result<Attempt<Self>> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        loop {
            let file = match options.open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Missing),
                Err(error) => return Err(error),
            };
            return match file.try_lock() {
                Ok(()) if file.metadata()?.nlink() > 0 => Ok(Attempt::Held(Self { file })),
                // Whoever had it has removed it since we opened it: it locks nothing any more.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => Ok(Attempt::Busy(Holder::read(&file))),
                Err(TryLockError::Error(error)) => Err(error),
            };
        }
    }

    /// Whether the file still has a name: without one it has been removed, and what is in its place is somebody else's.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() > 0)
    }

    /// Tells those who wait whom they wait for.
    ///
    /// # Errors
    /// Those of the system.
    pub fn sign(&self, holder: &Holder) -> io::Result<()> {
        let record = serde_json::to_vec(holder)?;
        self.file.set_len(0)?;
        self.file.write_all_at(&record, 0)
    }

    /// Lets others in. It is what a drop does, for who wakes others after it.
    pub fn let_go(&self) {
        // A child that is between fork and exec has the file open as well: closing it would not do.
        drop(self.file.unlock());
    }

    /// Says no more whose it is.
    pub(super) fn blank(&self) {
        // It is of use to none but people, and the lock is let go all the same.
        drop(self.file.set_len(0));
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Whether somebody has the lock at `path`, and who.
pub(super) fn holder(path: &Path) -> io::Result<(bool, Option<Holder>)> {
    let lock = match File::open(path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((false, None)),
        Err(error) => return Err(error),
    };
    // Shared: two who look do not take each other for a holder.
    match lock.try_lock_shared() {
        Ok(()) => Ok((false, None)),
        Err(TryLockError::WouldBlock) => Ok((true, Holder::read(&lock))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// How often it is looked whether another process has let go of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause.
    pub first: Duration,
    /// Each pause is twice the one before, up to this.
    pub limit: Duration,
}

impl Pauses {
    fn longer(&self, pause: Duration) -> Duration {
        pause.saturating_mul(2).min(self.limit.max(self.first))
    }
}

/// Attempts until there is something to hold. `released` wakes those of this process. Who is waited for is told once.
///
/// # Errors
/// Those of an attempt.
pub async fn wait<T, E, F: Future<Output = Result<Attempt<T>, E>>>(
    released: &Notify,
    pauses: Pauses,
    mut attempt: impl FnMut() -> F,
    tell: impl Fn(&str),
) -> Result<T, E> {
    let (mut looked, mut pause) = (0_u32, pauses.first);
    loop {
        let mut woken = std::pin::pin!(released.notified());
        woken.as_mut().enable();
        let holder = match attempt().await? {
            Attempt::Held(held) => return Ok(held),
            // One that was asked to be created is missing only if somebody removes the directories.
            Attempt::Missing => None,
            Attempt::Busy(holder) => holder,
        };
        looked = looked.saturating_add(1);
        // Not at once: a look at what there is holds it as well, for a moment.
        if looked == 2 {
            tell(&holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string()));
        }
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(pause) => pause = pauses.longer(pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn held(path: &Path) -> FileLock {
        let Attempt::Held(lock) = FileLock::attempt(path).unwrap() else { panic!() };
        lock
    }

    /// Row 68a: a lock that went with what it locked between opening and locking it is no lock.
    #[test]
    fn a_lock_without_a_name_is_not_held() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let first = held(&path);
        assert!(matches!(FileLock::attempt(&path).unwrap(), Attempt::Busy(None)));
        fs::remove_file(&path).unwrap();
        assert!(!first.is_named());
        let second = held(&path);
        drop(first);
        assert!(second.is_named());
        assert!(
            matches!(FileLock::attempt(&path).unwrap(), Attempt::Busy(None)),
            "the old one unlocks no new one"
        );
    }

    #[test]
    fn a_lock_says_whose_it_is_and_nothing_after_that() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        assert_eq!(holder(&path).unwrap(), (false, None));
        let lock = held(&path);
        let this = Holder::this_process(Some("program verb"));
        lock.sign(&this).unwrap();
        let Attempt::Busy(Some(found)) = FileLock::attempt(&path).unwrap() else { panic!() };
        assert_eq!(found, this);
        assert_eq!(found.to_string(), format!("process {}: program verb", std::process::id()));
        assert_eq!(holder(&path).unwrap(), (true, Some(this)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "for nobody else");
        lock.blank();
        drop(lock);
        assert_eq!(holder(&path).unwrap(), (false, None));
        let missing = temp.path().join("no/lock");
        assert!(matches!(FileLock::attempt(&missing).unwrap(), Attempt::Missing));
    }
}
