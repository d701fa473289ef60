//! Standard output: what scripts read. A reader that has gone is not an error.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use serde::Serialize;

use super::exit::Failure;

/// Writes lines to standard output.
pub(crate) fn lines(text: &str) -> Result<(), Failure> {
    write(text.as_bytes())?;
    if text.ends_with('\n') || text.is_empty() { Ok(()) } else { write(b"\n") }
}

/// Writes one JSON document to standard output.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::Local(format!("write JSON: {error}")))?;
    text.push('\n');
    write(text.as_bytes())
}

/// Writes bytes to standard output as they are.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(error) => Err(Failure::Local(format!("write to standard output: {error}"))),
    }
}

/// Whether [`Raw`] has found that nobody reads.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);
/// Whether what [`Raw`] has not written yet is wanted no more.
static IS_GIVEN_UP: AtomicBool = AtomicBool::new(false);
/// So much is written at once, in bytes.
const PIECE: usize = 1 << 20;
/// So often who waits for a reader looks whether that is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Standard output as bytes, for what is no text. A reader may take its time, for ever even: a thread of its own waits for it,
/// and ends with the process.
pub(crate) struct Raw {
    pieces: SyncSender<Vec<u8>>,
    written: Receiver<std::io::Result<()>>,
}

impl Raw {
    pub(crate) fn new() -> Self {
        let (pieces, to_write) = mpsc::sync_channel::<Vec<u8>>(1);
        let (said, written) = mpsc::channel();
        // Without a thread to be had the first write fails.
        let _ = std::thread::Builder::new().name("standard output".to_owned()).spawn(move || {
            for piece in to_write {
                let mut out = std::io::stdout().lock();
                if said.send(out.write_all(&piece).and_then(|()| out.flush())).is_err() {
                    return;
                }
            }
        });
        Self { pieces, written }
    }

    /// Whether nobody reads what was written.
    pub(crate) fn is_closed() -> bool {
        IS_CLOSED.load(Ordering::Relaxed)
    }

    /// Ends the writing, whether or not somebody reads.
    pub(crate) fn give_up() {
        IS_GIVEN_UP.store(true, Ordering::Relaxed);
    }
}

impl std::io::Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let gone = || std::io::Error::other("the thread that writes to standard output has ended");
        self.pieces.send(piece.to_vec()).map_err(|_| gone())?;
        loop {
            match self.written.recv_timeout(LOOK) {
                Ok(Ok(())) => return Ok(piece.len()),
                Ok(Err(error)) => {
                    IS_CLOSED.fetch_or(error.kind() == ErrorKind::BrokenPipe, Ordering::Relaxed);
                    return Err(error);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) if IS_GIVEN_UP.load(Ordering::Relaxed) => {
                    return Err(std::io::Error::other("interrupted"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Each write has come to its end.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes one line to standard error; that nobody reads it is no reason to stop.
pub(crate) fn note(line: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{line}");
}

/// `1 name`, `2 names`.
pub(crate) fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let said = [0, 1, 2].map(|count| counted(count, "name", "names"));
        assert_eq!(said, ["0 names", "1 name", "2 names"]);
    }
}
