//! The bytes of a blob as they are written.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio_util::sync::CancellationToken;

use super::board::{End, Run};

/// Why a [`Tail`] has ended before the blob was there. What was made of its bytes is to be thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cut {
    /// What was there of the blob proved wrong, and it is read from its first byte again. Begin again, too.
    #[error("the blob is received from its first byte again")]
    Restarted,
    /// Nobody writes the blob any more. Whoever received it says why.
    #[error("the blob is not received any more")]
    Abandoned,
    /// The reader's own token was cancelled.
    #[error("reading was cancelled")]
    Cancelled,
}

impl Cut {
    /// The cut behind an error, however often readers on the way have wrapped it.
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(cut) = error.downcast_ref::<Self>() {
                return Some(*cut);
            }
            // An io error has another for its content, not for its source.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = inside.map(|error| error as &(dyn StdError + 'static)).or_else(|| error.source());
        }
        None
    }
}

impl From<Cut> for io::Error {
    fn from(cut: Cut) -> Self {
        // Not of a kind that readers take for an invitation to try once more.
        Self::other(cut)
    }
}

/// What a [`Tail`] is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It has read all there is, and waits for more.
    Begins,
    /// There is something to do again: bytes, the end, or an error.
    Ends,
}

type Hook = Box<dyn FnMut(Waiting) + Send>;

/// Reads a blob while it is written; see [`Follower::begun`](super::Follower::begun). For blocking threads: a read waits
/// for the next bytes. It reads as much as there is, up to the buffer's length, and takes no buffer of its own.
///
/// The end of the file is that of a verified blob that is in its place. An error is final, and [`Cut::of`] tells what
/// came between.
pub struct Tail {
    run: Run,
    position: u64,
    cancel: CancellationToken,
    hook: Option<Hook>,
    cut: Option<Cut>,
}

impl Tail {
    pub(super) fn new(run: Run) -> Self {
        Self { run, position: 0, cancel: CancellationToken::new(), hook: None, cut: None }
    }

    /// The same, ending with [`Cut::Cancelled`] when `cancel` is, at once even while it waits.
    #[must_use]
    pub fn until(self, cancel: CancellationToken) -> Self {
        Self { cancel, ..self }
    }

    /// The same, calling `hook` before it waits for bytes and after it: what is scarce can be given back meanwhile. The
    /// calls alternate, and a hook may take its time.
    #[must_use]
    pub fn on_wait(self, hook: impl FnMut(Waiting) + Send + 'static) -> Self {
        Self { hook: Some(Box::new(hook)), ..self }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let reached = *self.run.reached.borrow_and_update();
            self.check()?;
            if self.position < reached.written {
                let there = usize::try_from(reached.written - self.position).unwrap_or(usize::MAX);
                let part = there.min(buffer.len());
                let read = self.run.data.read_at(&mut buffer[..part], self.position);
                // Who cuts the file says so before, and who lets others at it says so before, too.
                self.check()?;
                return match read? {
                    0 => {
                        let length = self.position;
                        let reason =
                            format!("the unfinished blob ends after {length} bytes, which were more");
                        Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
                    }
                    read => {
                        self.position += read as u64;
                        Ok(read)
                    }
                };
            }
            if reached.end == Some(End::Published) {
                return Ok(0);
            }
            self.wait();
        }
    }

    /// Says whether what is read is still of the blob.
    fn check(&self) -> Result<(), Cut> {
        if self.cancel.is_cancelled() {
            return Err(Cut::Cancelled);
        }
        // Before it is looked what was said last: the last word comes before the end.
        let is_closed = self.run.reached.has_changed().is_err();
        match self.run.reached.borrow().end {
            Some(End::Published) => Ok(()),
            Some(End::Restarted) => Err(Cut::Restarted),
            None if is_closed => Err(Cut::Abandoned),
            None => Ok(()),
        }
    }

    fn wait(&mut self) {
        let mut hook = self.hook.take();
        if let Some(hook) = &mut hook {
            hook(Waiting::Begins);
        }
        let cancel = self.cancel.clone();
        let cancelled = pin!(cancel.cancelled());
        let changed = pin!(self.run.reached.changed());
        // Either outcome of the wait is looked at where bytes are.
        block_on(cancelled, changed);
        if let Some(hook) = &mut hook {
            hook(Waiting::Ends);
        }
        self.hook = hook;
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(cut) = self.cut {
            return Err(cut.into());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.next(buffer);
        if let Err(error) = &read {
            self.cut = Cut::of(error);
        }
        read
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("position", &self.position)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

/// Wakes a thread that sleeps.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Puts this thread to sleep until one of two things has happened. Neither needs a runtime.
fn block_on(mut one: std::pin::Pin<&mut impl Future>, mut other: std::pin::Pin<&mut impl Future>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        let ready = |poll: Poll<()>| poll.is_ready();
        if ready(one.as_mut().poll(&mut context).map(drop))
            || ready(other.as_mut().poll(&mut context).map(drop))
        {
            return;
        }
        thread::park();
    }
}
