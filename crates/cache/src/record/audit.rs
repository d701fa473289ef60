//! Whether records are found by what they should be found by: read in pages, for others are to be served in between.
//!
//! What was read in one page may have changed before the next: so whatever seems wrong is looked at once more, in one state
//! of the database, before it is told or mended.

use std::collections::BTreeSet;

use super::keys::{INDEXES, RECORDS, USED, first_use, page, pointers};
use super::{Record, RecordId, Rows};
use crate::error::{Error, Result};
use crate::metadata::{Entry, Read, Space, Transaction};

/// A row that finds a record: the number of its space among the indexes, and its key.
pub(crate) type Pointer = (usize, Vec<u8>);

/// What was read of the database, page by page.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// The records that can be read.
    pub(crate) records: Vec<Record>,
    /// Those that cannot, and why.
    pub(crate) broken: Vec<(String, String)>,
    /// What should find the records, without what has been seen of it.
    lacking: BTreeSet<Pointer>,
    /// What finds none.
    stray: Vec<Pointer>,
    /// What finds those that cannot be read.
    of_broken: Vec<Pointer>,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It finds a record that is not there, or is not to be found by it.
    Stray,
    /// It is not there.
    Lacking,
}

impl Audit {
    /// How many spaces there are with rows that find records.
    pub(crate) const SPACES: usize = INDEXES.len();

    /// Takes a row of a record. To be called for all of them before [`Audit::pointer`].
    pub(crate) fn record(&mut self, row: &Entry) {
        let id = String::from_utf8_lossy(&row.0).into_owned();
        match Rows::parse(row) {
            Ok(record) if record.id.as_str() == id => {
                self.lacking.extend(wanted(&record));
                self.records.push(record);
            }
            Ok(record) => self.broken.push((id, format!("its row is that of {}", record.id))),
            Err(error) => self.broken.push((id, error.to_string())),
        }
    }

    /// Takes a row of an index.
    pub(crate) fn pointer(&mut self, space: usize, key: Vec<u8>) {
        let pointer = (space, key);
        if self.lacking.remove(&pointer) {
            return;
        }
        let id = id_of(&pointer.1);
        let finds_broken = self.broken.iter().any(|(broken, _)| broken.as_bytes() == id);
        if finds_broken { self.of_broken.push(pointer) } else { self.stray.push(pointer) }
    }

    /// All that seems wrong, and may have been written or removed between two pages.
    pub(crate) fn suspects(&self) -> Vec<Pointer> {
        self.stray.iter().chain(&self.lacking).cloned().collect()
    }

    /// What goes with the records that cannot be read.
    pub(crate) fn of_broken(&self) -> &[Pointer] {
        &self.of_broken
    }

    /// A page of the rows of an index, after the key of the last one.
    pub(crate) fn page(view: &dyn Read, space: usize, after: Option<&[u8]>) -> Result<Vec<Entry>> {
        INDEXES.get(space).map_or_else(|| Ok(Vec::new()), |space| page(view, space, after))
    }

    /// What is wrong with a row at this moment.
    pub(crate) fn look(view: &dyn Read, (space, key): &Pointer) -> Result<Option<Wrong>> {
        let Some(index) = INDEXES.get(*space) else { return Ok(None) };
        let is_there = view.get(index, key)?.is_some();
        let is_wanted = match RecordId::parse(&String::from_utf8_lossy(id_of(key))) {
            Ok(id) => match Rows::get(view, &id) {
                Ok(record) => {
                    record.is_some_and(|record| wanted(&record).any(|other| other == (*space, key.clone())))
                }
                // Nobody knows by what it is to be found.
                Err(Error::Metadata { .. }) if view.get(&RECORDS, id.as_str().as_bytes())?.is_some() => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
            Err(_) => false,
        };
        Ok(match (is_wanted, is_there) {
            (true, false) => Some(Wrong::Lacking),
            (false, true) => Some(Wrong::Stray),
            _ => None,
        })
    }

    /// Removes or makes a row, as the record it finds wants it at this moment.
    pub(crate) fn mend(rows: &mut Transaction<'_>, pointer: &Pointer) -> Result<()> {
        let (Some(index), Some(wrong)) = (INDEXES.get(pointer.0), Self::look(rows, pointer)?) else {
            return Ok(());
        };
        match wrong {
            Wrong::Stray => rows.delete(index, &pointer.1),
            Wrong::Lacking if is_use(index) => {
                let id = RecordId::parse(&String::from_utf8_lossy(&pointer.1))?;
                if let Some(record) = Rows::get(rows, &id)? {
                    rows.put(index, &pointer.1, first_use(&record)?)?;
                }
            }
            Wrong::Lacking => rows.put(index, &pointer.1, Vec::new())?,
        }
        Ok(())
    }

    /// Removes the row of a record that still cannot be read.
    pub(crate) fn remove_broken(rows: &mut Transaction<'_>, id: &str) -> Result<()> {
        let Some(row) = rows.get(&RECORDS, id.as_bytes())? else { return Ok(()) };
        let parsed = Rows::parse(&(id.as_bytes().to_vec(), row));
        if !parsed.is_ok_and(|record| record.id.as_str() == id) {
            rows.delete(&RECORDS, id.as_bytes());
        }
        Ok(())
    }
}

/// The rows that should find a record.
fn wanted(record: &Record) -> impl Iterator<Item = Pointer> {
    let place = |space: &Space| INDEXES.iter().position(|index| index.name() == space.name());
    let id = record.id.clone();
    let used = place(&USED).map(|at| (at, record.id.as_str().as_bytes().to_vec()));
    let found = pointers(record).into_iter().filter_map(move |(space, key)| {
        INDEXES
            .iter()
            .position(|index| index.name() == space.name())
            .map(|at| (at, format!("{key}/{id}").into_bytes()))
    });
    found.chain(used)
}

/// The record that a row finds.
fn id_of(key: &[u8]) -> &[u8] {
    key.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn is_use(space: &Space) -> bool {
    space.name() == USED.name()
}
