//! The one tree of a record that is shown, and who has it open.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::few::Few;
use super::process::Trees;
use super::shown::{CLOSE, Shown};
use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::record::RecordId;

/// The kernel may let go of a dead process's files a moment later: so often it is tried, with pauses each twice as long.
const BUSY: u32 = 7;

/// Where a record's tree is shown. Whoever holds its lock may make the mount or take it away; it is taken away when nobody
/// is counted any more.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Handles, and calls that are about to give one.
    open: AtomicUsize,
    shown: tokio::sync::Mutex<Option<Shown>>,
}

impl Slot {
    /// Counts somebody: what is shown stays.
    pub(super) fn enter(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// Does not count somebody any more, who is to [clear](Self::clear) it next.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0
    }

    /// Where it is shown. If it is not, `make` shows the stack that `few` is: it may block. Its caller is counted.
    pub(super) async fn show(
        &self,
        what: impl FnOnce() -> What,
        few: impl Future<Output = Result<Few>>,
        make: impl FnOnce(Few) -> Result<Shown> + Send + 'static,
    ) -> Result<PathBuf> {
        let mut shown = self.shown.lock().await;
        if let Some(shown) = &*shown {
            return Ok(shown.path().to_owned());
        }
        let few = few.await?;
        let made = blocking(what, move || make(few)).await?;
        let path = made.path().to_owned();
        *shown = Some(made);
        Ok(path)
    }

    /// Takes away what nobody has open.
    pub(super) async fn clear(&self, trees: &Arc<Trees>) -> Result<()> {
        let mut shown = self.shown.lock().await;
        if self.is_open() {
            return Ok(());
        }
        let Some(mut gone) = shown.take() else { return Ok(()) };
        // The lock is let go when it is done: who shows it anew must find nothing of this.
        let mut pause = Duration::from_millis(1);
        for _ in 0..BUSY {
            let (what, own) = (What::new(CLOSE, gone.path().display()), Arc::clone(trees));
            match blocking(|| what, move || gone.take_away(&own)).await? {
                None => return Ok(()),
                Some(busy) => gone = busy,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let (what, own) = (What::new(CLOSE, gone.path().display()), Arc::clone(trees));
        blocking(|| what, move || gone.tear_away(&own)).await
    }

    /// The same for who has no runtime. Where somebody has the lock it is theirs to do.
    pub(super) fn clear_now(&self, trees: &Trees) -> Result<()> {
        let Ok(mut shown) = self.shown.try_lock() else { return Ok(()) };
        if self.is_open() {
            return Ok(());
        }
        match shown.take().map(|gone| gone.take_away(trees)) {
            None => Ok(()),
            Some(taken) => taken?.map_or(Ok(()), |busy| busy.tear_away(trees)),
        }
    }

    /// Sees to it that nothing is shown of it: for who commits it. What was dropped only is taken away now.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody has it open; those of taking it away.
    pub(crate) async fn close(&self, id: &RecordId, trees: &Arc<Trees>) -> Result<()> {
        if self.is_open() {
            let reason = "somebody has its tree open: close it first".to_owned();
            return Err(Error::Locked { what: What::new("commit", id), reason });
        }
        self.clear(trees).await
    }
}
