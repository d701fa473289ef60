//! Who lives, and what they pin: `live/<pid>-<nonce>-<number>`.
//!
//! ```text
//! {"pid":17,"command":"lazyblob pull","started":1790000000000}
//! + blob sha256:…
//! + chain sha256:…
//! - blob sha256:…
//! ```
//!
//! A file is flocked by its process from before it has its name until the process ends, however it ends. Who gets the
//! lock of another's file may remove it. A line counts when its line break is there; the lines are a history. When most
//! of them are about what is over there is another file instead, of the next number, which has its name before the old one
//! loses it. Of a file that has a name everything holds at any moment, so nobody who reads waits for its process, which may
//! have been stopped; who finds that one has gone while it was read looks again. They need not survive a power cut: no
//! process does.
//!
//! **What a pin promises.** What is pinned when a prune looks is not removed by it. Who pins something that may be there
//! already pins first and looks then.
//!
//! **Locking.** Counting is done under one lock and writing under another. Who pins waits until the line is written; who
//! lets go writes it if nobody else is writing, and leaves it to whoever is.

mod file;
mod others;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use self::file::{LiveFile, Owner};
use super::Pin;
use crate::error::{Error, IoContext as _, Result};

const OPERATION: &str = "pin";

/// What this process pins, and what all of them do.
#[derive(Debug)]
pub struct Live {
    dir: PathBuf,
    owner: Owner,
    table: Mutex<Table>,
    /// Made with the first pin.
    file: Mutex<Option<LiveFile>>,
}

/// How often everything is pinned, and what is not written yet of that.
#[derive(Debug, Default)]
struct Table {
    counts: HashMap<Pin, usize>,
    pending: Vec<String>,
}

/// Keeps things from being pruned until it is dropped.
#[derive(Debug)]
#[must_use = "what it pins is let go when it is dropped"]
pub struct Pinned {
    live: Arc<Live>,
    pins: Vec<Pin>,
}

impl Live {
    pub(super) fn new(dir: PathBuf, holder: Option<&'static str>) -> Self {
        Self { dir, owner: Owner::new(holder), table: Mutex::default(), file: Mutex::default() }
    }

    /// Pins things until what is returned is dropped. What others of this process pin as well is pinned until the last
    /// one lets go. Takes one short write to a file at most, which nobody waits for to be durable.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the id of a record that has line breaks in it or none at all; [`Error::Io`], and nothing is
    /// pinned then.
    pub fn pin(self: &Arc<Self>, pins: &[Pin]) -> Result<Pinned> {
        for pin in pins {
            if let Pin::Record(id) = pin
                && (id.is_empty() || id.contains(['\n', '\r']))
            {
                return Err(Error::invalid(OPERATION, format_args!("record {id:?}"), "that is no id"));
            }
        }
        let mut table = self.table();
        for pin in pins {
            table.add(pin);
        }
        drop(table);
        // It lets go of them again if they cannot be written.
        let pinned = Pinned { live: Arc::clone(self), pins: pins.to_vec() };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.write(&mut file);
        self.compact(&mut file);
        drop(file);
        written.during(OPERATION, self.dir.display(), &self.dir)?;
        Ok(pinned)
    }

    /// What living processes pin, this one among them. Files of those that are gone are removed.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory or a file of it cannot be read: then nobody knows what is pinned.
    pub fn pinned(&self) -> Result<HashSet<Pin>> {
        others::pinned(&self.dir, None)
    }

    /// The same without what this process pins.
    ///
    /// # Errors
    /// Those of [`Live::pinned`].
    pub fn pinned_by_others(&self) -> Result<HashSet<Pin>> {
        others::pinned(&self.dir, Some(&self.owner))
    }

    /// Whether this process pins it.
    #[must_use]
    pub fn is_pinned_here(&self, pin: &Pin) -> bool {
        self.table().counts.contains_key(pin)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is pending. What cannot be written stays so.
    fn write(&self, file: &mut Option<LiveFile>) -> std::io::Result<()> {
        let mut pending = std::mem::take(&mut self.table().pending);
        if pending.is_empty() {
            return Ok(());
        }
        let written = match file {
            Some(file) => file.append(&pending),
            None => LiveFile::create(&self.dir, &self.owner, 0, &[])
                .and_then(|new| file.insert(new).append(&pending)),
        };
        if let Err(error) = written {
            let mut table = self.table();
            pending.append(&mut table.pending);
            table.pending = pending;
            return Err(error);
        }
        Ok(())
    }

    /// Writes the file anew if most of its lines are about what is over.
    fn compact(&self, file: &mut Option<LiveFile>) {
        let Some(file) = file else { return };
        let table = self.table();
        if !file.is_worth_compacting(table.counts.len()) {
            return;
        }
        // What is pending may be among them, and is repeated after them: that says the same.
        let lines: Vec<_> = table.counts.keys().map(|pin| format!("+ {pin}\n")).collect();
        drop(table);
        if let Err(error) = file.replace(&self.dir, &self.owner, &lines) {
            tracing::debug!(%error, path = %self.dir.display(), "a list of pins stays long");
        }
    }

    fn unpin(&self, pins: &[Pin]) {
        let mut table = self.table();
        for pin in pins {
            table.remove(pin);
        }
        drop(table);
        // Whoever writes now looks again afterwards.
        while !self.table().pending.is_empty() {
            let mut file = match self.file.try_lock() {
                Ok(file) => file,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if let Err(error) = self.write(&mut file) {
                // They are written with the next pin; until then too much is pinned, and never too little.
                tracing::debug!(%error, path = %self.dir.display(), "what is let go of is not written yet");
                return;
            }
        }
    }
}

impl Table {
    fn add(&mut self, pin: &Pin) {
        let count = self.counts.entry(pin.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.pending.push(format!("+ {pin}\n"));
        }
    }

    fn remove(&mut self, pin: &Pin) {
        let Some(count) = self.counts.get_mut(pin) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(pin);
            self.pending.push(format!("- {pin}\n"));
        }
    }
}

impl Pinned {
    /// What is pinned.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.live.unpin(&self.pins);
    }
}
