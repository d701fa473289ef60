//! Where records are in the database, and by what they are found.
//!
//! ```text
//! record/<id>                  the record, as JSON; also in the journal
//! index/whole                  the rows below are those of all records; lost with the database, and then made anew
//! blob-chain/<digest>/<id>     by the blobs all the way down
//! chain/<digest>/<id>          by what it unpacks to
//! blob/<digest>/<id>           by its own blob
//! snapshot/<key>/<id>          by its own snapshot
//! child/<parent>/<id>          by what it stands on
//! use/<id>                     when and how often it was used
//! ```

use crate::error::{Error, Result};
use crate::metadata::{Entry, Read, Space, Transaction};
use crate::record::{LastUse, Record, RecordId};

/// All that is known of records.
pub(crate) const RECORDS: Space = Space::recoverable("record");
/// When they were used.
pub(crate) const USED: Space = Space::new("use");

/// Rows that are read in one turn where all are wanted.
const PAGE: usize = 4096;

const WHOLE: Space = Space::new("index");
const BLOB_CHAINS: Space = Space::new("blob-chain");
const CHAINS: Space = Space::new("chain");
const BLOBS: Space = Space::new("blob");
const SNAPSHOTS: Space = Space::new("snapshot");
const CHILDREN: Space = Space::new("child");

/// All that is made of records.
pub(super) const INDEXES: [Space; 6] = [BLOB_CHAINS, CHAINS, BLOBS, SNAPSHOTS, CHILDREN, USED];

/// Rows of records in a transaction or a view of the database.
pub(crate) struct Rows;

impl Rows {
    /// The record called `id`.
    pub(crate) fn get(view: &dyn Read, id: &RecordId) -> Result<Option<Record>> {
        view.get(&RECORDS, id.as_str().as_bytes())?.map(|row| parse(id.as_str(), &row)).transpose()
    }

    /// Whether there is a record called `id`, be its row readable or not.
    pub(crate) fn has(view: &dyn Read, id: &RecordId) -> Result<bool> {
        Ok(view.get(&RECORDS, id.as_str().as_bytes())?.is_some())
    }

    /// A page of records, after the one called `after`: rows to be parsed where nobody waits.
    pub(crate) fn page(view: &dyn Read, after: Option<&str>) -> Result<Vec<Entry>> {
        page(view, &RECORDS, after.map(str::as_bytes))
    }

    /// The same of when and how often they were used.
    pub(crate) fn page_of_uses(view: &dyn Read, after: Option<&str>) -> Result<Vec<Entry>> {
        page(view, &USED, after.map(str::as_bytes))
    }

    /// A row of [`Rows::page`].
    pub(crate) fn parse((key, row): &Entry) -> Result<Record> {
        parse_row("read record", key, row)
    }

    /// A row of [`Rows::page_of_uses`].
    pub(crate) fn parse_use((key, row): &Entry) -> Result<(RecordId, LastUse)> {
        Ok((RecordId::parse(&String::from_utf8_lossy(key))?, parse_row("read use of record", key, row)?))
    }

    /// When and how often `id` was used.
    pub(crate) fn last_use(view: &dyn Read, id: &RecordId) -> Result<Option<LastUse>> {
        let row = view.get(&USED, id.as_str().as_bytes())?;
        row.map(|row| parse_row("read use of record", id.as_str().as_bytes(), &row)).transpose()
    }

    /// Counts a use.
    pub(crate) fn touch(rows: &mut Transaction<'_>, id: &RecordId, at: u64, times: u64) -> Result<()> {
        let before = Self::last_use(rows, id)?.unwrap_or_default();
        let after = LastUse { at: at.max(before.at), count: before.count.saturating_add(times) };
        rows.put(&USED, id.as_str().as_bytes(), write(&after)?)?;
        Ok(())
    }

    /// Records of these blobs all the way down.
    pub(crate) fn of_blob_chain(view: &dyn Read, chain: &str) -> Result<Vec<RecordId>> {
        found(view, BLOB_CHAINS, chain)
    }

    /// Records that unpack to this.
    pub(crate) fn of_chain(view: &dyn Read, chain: &str) -> Result<Vec<RecordId>> {
        found(view, CHAINS, chain)
    }

    /// Records whose own blob this is.
    pub(crate) fn of_blob(view: &dyn Read, digest: &str) -> Result<Vec<RecordId>> {
        found(view, BLOBS, digest)
    }

    /// Records whose own snapshot this is.
    pub(crate) fn of_snapshot(view: &dyn Read, key: &str) -> Result<Vec<RecordId>> {
        found(view, SNAPSHOTS, key)
    }

    /// Records that stand on `parent`.
    pub(crate) fn children(view: &dyn Read, parent: &RecordId) -> Result<Vec<RecordId>> {
        found(view, CHILDREN, parent.as_str())
    }

    /// Writes a record and what it is found by, in the place of what it was before.
    pub(crate) fn put(rows: &mut Transaction<'_>, record: &Record) -> Result<()> {
        let before = Self::get(rows, &record.id)?;
        if before.as_ref() == Some(record) {
            return Ok(());
        }
        if let Some(before) = &before {
            unindex(rows, before);
        } else {
            rows.put(&USED, record.id.as_str().as_bytes(), first_use(record)?)?;
        }
        rows.put(&RECORDS, record.id.as_str().as_bytes(), write(record)?)?;
        index(rows, record)
    }

    /// Removes a record and what it is found by.
    pub(crate) fn delete(rows: &mut Transaction<'_>, record: &Record) {
        unindex(rows, record);
        rows.delete(&RECORDS, record.id.as_str().as_bytes());
        rows.delete(&USED, record.id.as_str().as_bytes());
    }

    /// Makes the indexes of a database that has lost them. Costs one look where there is nothing to do. A record that
    /// cannot be read is found by nothing, and told by `verify`.
    pub(crate) fn complete(rows: &mut Transaction<'_>) -> Result<()> {
        if rows.get(&WHOLE, b"whole")?.is_some() {
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let page = Self::page(rows, after.as_deref())?;
            let Some((last, _)) = page.last() else { break };
            after = Some(String::from_utf8_lossy(last).into_owned());
            for row in &page {
                let record = match Self::parse(row) {
                    Ok(record) => record,
                    Err(error) => {
                        tracing::warn!(%error, "a record that cannot be read: `verify` mends it");
                        continue;
                    }
                };
                index(rows, &record)?;
                if rows.get(&USED, record.id.as_str().as_bytes())?.is_none() {
                    rows.put(&USED, record.id.as_str().as_bytes(), first_use(&record)?)?;
                }
            }
        }
        rows.put(&WHOLE, b"whole", b"1")?;
        Ok(())
    }
}

pub(super) fn page(view: &dyn Read, space: &Space, after: Option<&[u8]>) -> Result<Vec<Entry>> {
    // The first key after that one.
    let from = after.map_or_else(Vec::new, |after| [after, &[0]].concat());
    view.scan(space, &from, None, PAGE)
}

fn found(view: &dyn Read, space: Space, key: &str) -> Result<Vec<RecordId>> {
    let prefix = format!("{key}/");
    let rows = view.scan_prefix(&space, prefix.as_bytes(), usize::MAX)?;
    rows.iter().map(|(key, _)| RecordId::parse(&String::from_utf8_lossy(&key[prefix.len()..]))).collect()
}

/// The row of a record that nobody has used yet.
pub(super) fn first_use(record: &Record) -> Result<Vec<u8>> {
    write(&LastUse { at: record.created, count: 0 })
}

/// The rows that `record` is found by.
pub(super) fn pointers(record: &Record) -> Vec<(Space, String)> {
    let mut pointers = Vec::new();
    if let Some(chain) = &record.blob_chain {
        pointers.push((BLOB_CHAINS, chain.to_string()));
    }
    if let Some(chain) = &record.chain {
        pointers.push((CHAINS, chain.to_string()));
    }
    if let Some(blob) = &record.blob {
        pointers.push((BLOBS, blob.descriptor.digest().to_string()));
    }
    if let Some(key) = &record.snapshot {
        pointers.push((SNAPSHOTS, key.to_string()));
    }
    pointers.extend(record.kind.parents().map(|parent| (CHILDREN, parent.to_string())));
    pointers
}

fn index(rows: &mut Transaction<'_>, record: &Record) -> Result<()> {
    for (space, key) in pointers(record) {
        rows.put(&space, format!("{key}/{}", record.id).as_bytes(), Vec::new())?;
    }
    Ok(())
}

fn unindex(rows: &mut Transaction<'_>, record: &Record) {
    for (space, key) in pointers(record) {
        rows.delete(&space, format!("{key}/{}", record.id).as_bytes());
    }
}

fn parse(id: &str, row: &[u8]) -> Result<Record> {
    parse_row("read record", id.as_bytes(), row)
}

fn parse_row<T: serde::de::DeserializeOwned>(operation: &'static str, key: &[u8], row: &[u8]) -> Result<T> {
    serde_json::from_slice(row).map_err(|error| Error::Metadata {
        what: crate::error::What::new(operation, String::from_utf8_lossy(key)),
        reason: format!("its row is broken: {error}"),
    })
}

fn write(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Metadata {
        what: crate::error::What::new("write record", "as JSON"),
        reason: error.to_string(),
    })
}
