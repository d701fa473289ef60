//! Reading a journal from its beginning: what it is worth, and what is in it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use super::line::{LONGEST, Line};
use crate::error::{IoContext, Result};

/// The change of one entry: its new value, or that it is gone.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// What a journal is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Survey {
    /// Before this generation it does not say what was removed: it was written anew then.
    pub(in crate::metadata) since: u64,
    /// The generation of the last whole batch; nothing where there is none.
    pub(in crate::metadata) last: Option<u64>,
    /// Where the last whole batch ends, in bytes.
    pub(in crate::metadata) end: u64,
    /// Entries put or removed.
    pub(in crate::metadata) lines: u64,
    /// Lines before the end that cannot be read, or that are missing from their batch.
    pub(in crate::metadata) bad: u64,
}

/// Reads all of the journal at `path`.
pub(in crate::metadata) fn survey(path: &Path) -> Result<Survey> {
    let mut survey = Survey::default();
    let (mut good, mut bad) = (0, 0);
    each_line(path, |line, end| {
        match line {
            Some(Line::Header { generation }) => {
                survey.since = generation;
                survey.end = end;
            }
            Some(Line::Put { .. } | Line::Delete { .. }) => good += 1,
            Some(Line::Commit { generation, count }) => {
                survey.last = Some(generation);
                survey.end = end;
                survey.lines += good;
                survey.bad = survey.bad.saturating_add(bad.max(count.saturating_sub(good)));
                (good, bad) = (0, 0);
            }
            None => bad += 1,
        }
        Ok(())
    })?;
    Ok(survey)
}

/// Shows `each` batch of the journal at `path` that is younger than `after`; all of them for `None`. Batches that are not
/// whole are left out, lines that cannot be read passed over.
pub(in crate::metadata) fn replay(
    path: &Path,
    after: Option<u64>,
    mut each: impl FnMut(Vec<Change>) -> Result<()>,
) -> Result<()> {
    let mut batch = Vec::new();
    each_line(path, |line, _| {
        match line {
            Some(Line::Put { key, value }) => batch.push((key, Some(value))),
            Some(Line::Delete { key }) => batch.push((key, None)),
            Some(Line::Commit { generation, .. }) => {
                let batch = std::mem::take(&mut batch);
                if after.is_none_or(|after| generation > after) {
                    each(batch)?;
                }
            }
            Some(Line::Header { .. }) | None => {}
        }
        Ok(())
    })
}

/// All of the journal at `path`: where its last whole batch ends, in bytes, and the batches.
#[cfg(feature = "testing")]
pub(crate) fn read(path: &Path) -> Result<(u64, Vec<Vec<Change>>)> {
    let mut batches = Vec::new();
    replay(path, None, |batch| {
        batches.push(batch);
        Ok(())
    })?;
    Ok((survey(path)?.end, batches))
}

/// Shows `each` line, or `None` for what is none, and where it ends.
fn each_line(path: &Path, mut each: impl FnMut(Option<Line>, u64) -> Result<()>) -> Result<()> {
    let file = File::open(path).during("read", "the journal", path)?;
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let (mut bytes, mut end) = (Vec::new(), 0);
    loop {
        let length = next_line(&mut reader, &mut bytes).during("read", "the journal", path)?;
        if length == 0 {
            return Ok(());
        }
        end += length;
        each(bytes.strip_suffix(b"\n").and_then(Line::parse), end)?;
    }
}

/// Reads to the end of the line; says how long it is. Of one that is too long the rest is passed over.
fn next_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<u64> {
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    bytes.clear();
    let mut length = 0;
    let mut part = Vec::new();
    loop {
        part.clear();
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut part)?;
        length += u64::try_from(read).unwrap_or(u64::MAX);
        if bytes.is_empty() {
            bytes.clone_from(&part);
        } else {
            bytes.truncate(1);
        }
        if read < LONGEST || part.ends_with(b"\n") {
            return Ok(length);
        }
    }
}
