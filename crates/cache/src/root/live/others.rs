//! What the files of all processes say.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use lazyblob_remote::layout::flock::Holder;

use super::super::Pin;
use super::file::{EDITION, NEW};
use crate::error::{IoContext as _, Result};

const OPERATION: &str = "list what is pinned";
/// So often a file is found being written anew before that is an error, with so long a pause in between.
const LOOKS: u32 = 400;
const BREATH: Duration = Duration::from_millis(5);

/// A living process that has a root open and has pinned something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process.
    pub pid: u32,
    /// What it calls itself.
    pub command: String,
    /// When it pinned something for the first time, or soon after.
    pub since: SystemTime,
}

pub(super) fn pinned(dir: &Path) -> Result<HashSet<Pin>> {
    let mut all = HashSet::new();
    living(dir, |text| all.extend(pins(text)))?;
    Ok(all)
}

pub(super) fn processes(dir: &Path) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    living(dir, |text| all.extend(process(text)))?;
    all.sort_by_key(|process| (process.since, process.pid));
    Ok(all)
}

/// Gives the content of every living process's file, and removes those of dead ones.
fn living(dir: &Path, mut give: impl FnMut(&str)) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.during(OPERATION, dir.display(), dir)?,
    };
    for entry in entries {
        let path = entry.during(OPERATION, dir.display(), dir)?.path();
        if let Some(text) = read(&path).during(OPERATION, dir.display(), &path)? {
            give(&text);
        }
    }
    Ok(())
}

/// The content of a living process's file.
fn read(path: &Path) -> io::Result<Option<String>> {
    loop {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Shared: two who look do not take each other for its process.
        match file.try_lock_shared() {
            // Its process has ended since we opened it.
            Ok(()) if file.metadata()?.nlink() == 0 => continue,
            Ok(()) => {
                if let Err(error) = fs::remove_file(path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::debug!(%error, path = %path.display(), "a dead process's list stays");
                }
                return Ok(None);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let is_new = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NEW.as_bytes()));
        // What has no name of its own yet pins nothing.
        return if is_new { Ok(None) } else { whole(&file).map(Some) };
    }
}

/// The content of a file, none of which was written anew while it was read.
fn whole(file: &File) -> io::Result<String> {
    for _ in 0..LOOKS {
        let before = edition(file)?;
        let mut text = Vec::new();
        (&*file).seek(SeekFrom::Start(0))?;
        (&*file).read_to_end(&mut text)?;
        if before.is_some_and(|edition| edition % 2 == 0) && edition(file)? == before {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        // It takes its process some microseconds, if that is not kept from running.
        thread::park_timeout(BREATH);
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "it is being written, and does not come to an end"))
}

fn edition(file: &File) -> io::Result<Option<u64>> {
    let mut digits = [0; EDITION];
    match file.read_exact_at(&mut digits, 0) {
        Ok(()) => Ok(std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is pinned after all lines that are written whole.
fn pins(text: &str) -> HashSet<Pin> {
    let mut pins = HashSet::new();
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        match (line.get(..2), line.get(2..).and_then(Pin::parse)) {
            (Some("+ "), Some(pin)) => drop(pins.insert(pin)),
            (Some("- "), Some(pin)) => drop(pins.remove(&pin)),
            // The first line, or one of a kind that a newer version has.
            _ => {}
        }
    }
    pins
}

fn process(text: &str) -> Option<Process> {
    let holder: Holder = serde_json::from_str(text.lines().next()?.get(EDITION..)?).ok()?;
    let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(holder.started))?;
    Some(Process { pid: holder.pid, command: holder.command, since })
}

#[cfg(test)]
mod tests {
    use lazyblob_remote::digest;

    use super::*;

    #[test]
    fn lines_are_a_history_and_half_a_line_is_none() {
        let (a, b) = (digest::sha256(b"a"), digest::sha256(b"b"));
        let text =
            format!("{{}}\n+ blob {a}\n+ record x y\n+ later kind\n- blob {a}\n+ blob {b}\n- blob {b}");
        let expected = [Pin::Blob(b.clone()), Pin::Record("x y".into())];
        assert_eq!(pins(&text), HashSet::from(expected));
        assert_eq!(pins(&format!("+ blob {b}\n+ blob {a}")).len(), 1);
        assert_eq!(pins(&format!("+ blob {}", &b.as_ref()[..20])), HashSet::new());
    }
}
