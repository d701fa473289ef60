//! Standard output: what scripts read. A reader that has gone is not an error.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Standard output as bytes, for what is no text.
pub(crate) struct Raw;

impl Raw {
    /// Whether nobody reads what was written.
    pub(crate) fn is_closed() -> bool {
        IS_CLOSED.load(Ordering::Relaxed)
    }
}

impl std::io::Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        noticed(std::io::stdout().lock().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        noticed(std::io::stdout().lock().flush())
    }
}

fn noticed<T>(written: std::io::Result<T>) -> std::io::Result<T> {
    if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        IS_CLOSED.store(true, Ordering::Relaxed);
    }
    written
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
