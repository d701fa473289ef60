//! Who has a lock, in words for those who wait.

use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::printable;
use crate::layout::disk;

/// So much of a name is enough to recognise it, in characters.
const NAME: usize = 64;
/// Larger than any record of ours.
const LIMIT: usize = 4096;

/// A process that has something to itself, as it says in the file that it has flocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// What the process calls itself; never its arguments.
    pub command: String,
    /// The size in bytes of what it makes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Since when it has it, in milliseconds since 1970.
    pub started: u64,
}

impl Holder {
    /// This process, from now on. It is called `name`, or by the base name of its program.
    #[must_use]
    pub fn this_process(name: Option<&str>) -> Self {
        let name = name.map_or_else(program, str::to_owned);
        let command = printable(&name).chars().take(NAME).collect();
        Self { pid: std::process::id(), command, size: None, started: now() }
    }

    /// The same, making something of `size` bytes.
    #[must_use]
    pub fn making(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// What is in the lock file; nothing where its owner has not written it yet.
    pub(super) fn read(lock: &File) -> Option<Self> {
        let mut record = [0; LIMIT];
        let length = disk::read_at_most(lock, &mut record, 0).ok()?;
        serde_json::from_slice(&record[..length]).ok()
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}: {}", self.pid, printable(&self.command))
    }
}

/// The base name of the program that runs.
fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The time of day in milliseconds since 1970; 0 before that.
pub(in crate::layout) fn now() -> u64 {
    millis(SystemTime::now())
}

/// `time` in milliseconds since 1970; 0 before that.
pub(in crate::layout) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments may be secret.
    #[test]
    fn a_holder_is_called_by_its_program_and_no_argument() {
        // The harness that runs this was given its path, and often the name of this test.
        let program = std::env::args().next().unwrap();
        assert!(program.contains('/'), "{program}");
        let holder = Holder::this_process(None);
        assert_eq!(holder.command, program.rsplit('/').next().unwrap());
        let long = Holder::this_process(Some(&"x".repeat(1000)));
        assert_eq!(long.command.len(), NAME);
    }
}
