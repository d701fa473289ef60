//! The journal's file: appended to, cut, written anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::line::Line;
use crate::error::{IoContext, Result};
use crate::metadata::{Entry, disk};

/// A commit line is shorter, in bytes.
const TAIL: u64 = 128;
/// A journal that is written anew has a commit line after so many entries.
const PAGE: usize = 1000;

/// An open journal. Only who has the database may have one.
#[derive(Debug)]
pub(in crate::metadata) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Journal {
    /// Opens the journal in `dir`; nothing where there is none.
    pub(in crate::metadata) fn open(dir: &Path) -> Result<Option<Self>> {
        let path = path(dir);
        let opened = options().create(false).open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.during("open", "the journal", &path)?,
        };
        let length = file.metadata().during("open", "the journal", &path)?.len();
        Ok(Some(Self { path, file, length }))
    }

    /// Writes the journal in `dir` anew, with `entries` and no dead line: pages of them, until there is none.
    pub(in crate::metadata) fn rewrite(
        dir: &Path,
        generation: u64,
        mut entries: impl FnMut(Option<&[u8]>, usize) -> Result<Vec<Entry>>,
    ) -> Result<(Self, u64)> {
        disk::create_dirs(dir).during("write", "the journal", dir)?;
        let path = path(dir);
        let new = dir.join("journal.new");
        let removed = fs::remove_file(&new).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        removed.during("write", "the journal", &new)?;
        let file = options().create(true).open(&new).during("write", "the journal", &new)?;
        let mut journal = Self { path: new.clone(), file, length: 0 };
        let mut lines = Vec::new();
        Line::Header { generation }.write(&mut lines);
        let mut count = 0;
        let mut last: Option<Vec<u8>> = None;
        loop {
            let page = entries(last.as_deref(), PAGE)?;
            for (key, value) in &page {
                Line::change(key, Some(value)).write(&mut lines);
            }
            let written = u64::try_from(page.len()).unwrap_or(u64::MAX);
            Line::Commit { generation, count: written }.write(&mut lines);
            journal.write(&lines)?;
            lines.clear();
            count += written;
            match page.into_iter().last() {
                Some((key, _)) => last = Some(key),
                None => break,
            }
        }
        journal.file.sync_data().during("write", "the journal", &new)?;
        disk::rename(&new, &path).during("write", "the journal", &path)?;
        journal.path = path;
        Ok((journal, count))
    }

    /// Adds a batch, durably.
    pub(in crate::metadata) fn append<'a>(
        &mut self,
        generation: u64,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<()> {
        let mut lines = Vec::new();
        let mut count = 0;
        for (key, value) in changes {
            Line::change(key, value).write(&mut lines);
            count += 1;
        }
        Line::Commit { generation, count }.write(&mut lines);
        let before = self.length;
        let outcome = self.write(&lines);
        let outcome = outcome.and_then(|()| self.file.sync_data().during("write", "the journal", &self.path));
        if outcome.is_err() {
            // Half a batch is no batch: whoever opens the journal next cuts it off where this cannot.
            let _ = self.file.set_len(before);
            self.length = before;
        }
        outcome
    }

    /// The generation of the last batch, where the journal ends with a whole one.
    pub(in crate::metadata) fn tail(&self) -> Result<Option<u64>> {
        let from = self.length.saturating_sub(TAIL);
        let mut bytes = vec![0; usize::try_from(self.length - from).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, from).during("read", "the journal", &self.path)?;
        let Some(bytes) = bytes.strip_suffix(b"\n") else { return Ok(None) };
        let line = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        match Line::parse(line) {
            Some(Line::Commit { generation, .. }) => Ok(Some(generation)),
            _ => Ok(None),
        }
    }

    /// Cuts off what comes after `length` bytes.
    pub(in crate::metadata) fn cut(&mut self, length: u64) -> Result<()> {
        if length == self.length {
            return Ok(());
        }
        let cut = self.file.set_len(length).and_then(|()| self.file.sync_data());
        cut.during("write", "the journal", &self.path)?;
        self.length = length;
        Ok(())
    }

    /// The file.
    pub(in crate::metadata) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, lines: &[u8]) -> Result<()> {
        self.file.write_all(lines).during("write", "the journal", &self.path)?;
        self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("journal")
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).append(true).mode(0o600);
    options
}
