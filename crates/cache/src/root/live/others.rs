//! What the files of all processes say.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

use super::super::Pin;
use super::file::{NEW, Owner};
use crate::error::{IoContext as _, Result};

const OPERATION: &str = "list what is pinned";
/// So often a file may go while it is read before that is an error. Each time somebody has ended or has got on.
const LOOKS: u32 = 10_000;

/// What a file says.
enum Found {
    /// This, and its process lives.
    Living(String),
    /// Nothing: its process is dead, or has not pinned anything yet.
    Nothing,
    /// It has gone, and what it said may be said by another one.
    Gone,
}

/// What living processes pin, but for those of `but`. Files of dead ones are removed.
pub(super) fn pinned(dir: &Path, but: Option<&Owner>) -> Result<HashSet<Pin>> {
    for _ in 0..LOOKS {
        if let Some(all) = look(dir, but)? {
            return Ok(all);
        }
        thread::yield_now();
    }
    let busy = io::Error::new(io::ErrorKind::WouldBlock, "it changes all the time");
    Err(busy).during(OPERATION, dir.display(), dir)
}

/// Nothing where a file has gone meanwhile.
fn look(dir: &Path, but: Option<&Owner>) -> Result<Option<HashSet<Pin>>> {
    let mut all = HashSet::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(all)),
        entries => entries.during(OPERATION, dir.display(), dir)?,
    };
    for entry in entries {
        let entry = entry.during(OPERATION, dir.display(), dir)?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if but.is_some_and(|owner| owner.has(&name)) {
            continue;
        }
        match read(&path, name.starts_with(NEW)).during(OPERATION, dir.display(), &path)? {
            Found::Living(text) => all.extend(pins(&text)),
            Found::Nothing => {}
            Found::Gone => return Ok(None),
        }
    }
    Ok(Some(all))
}

fn read(path: &Path, is_new: bool) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Gone),
        Err(error) => return Err(error),
    };
    // Shared: two who look do not take each other for its process.
    match file.try_lock_shared() {
        Ok(()) if file.metadata()?.nlink() == 0 => return Ok(Found::Gone),
        Ok(()) => {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!(%error, path = %path.display(), "a dead process's list stays");
            }
            return Ok(Found::Nothing);
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // What has no name of its own yet pins nothing that another file does not.
    if is_new {
        return Ok(Found::Nothing);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    // It had its name until now: its process had no other one meanwhile.
    let is_there = file.metadata()?.nlink() > 0;
    Ok(if is_there { Found::Living(String::from_utf8_lossy(&text).into_owned()) } else { Found::Gone })
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
