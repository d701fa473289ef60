//! What the keys and values mean, as a number that is stored with them.

use std::path::Path;

use lazyblob_remote::What;
use serde::{Deserialize, Serialize};

use super::space::OWN;
use super::{Batch, MetadataStore};
use crate::error::{Error, Result};

/// The version of the schema that this version of the program writes: the key `m/schema`, in decimal digits.
pub const SCHEMA: u32 = 1;

/// Makes of a database of one version what the next one would have written. It may be run again after a crash.
type Migration = fn(&dyn MetadataStore) -> Result<()>;

/// The first one is from version 1 to 2.
const MIGRATIONS: &[Migration] = &[];

/// Where the journal stood when the database was last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The generation of the last batch that the journal has, too.
    pub(super) generation: u64,
    /// Lines of the journal that put or remove an entry.
    pub(super) lines: u64,
    /// Entries of recoverable spaces.
    pub(super) live: u64,
}

/// Our own entries.
pub(super) fn own(name: &str) -> Vec<u8> {
    let mut key = vec![OWN, b'/'];
    key.extend(name.as_bytes());
    key
}

/// Brings an older database up to date, refuses a newer one; says whether there is one. One without a version is new, or
/// was not filled to its end.
pub(super) fn check(store: &dyn MetadataStore, dir: &Path) -> Result<bool> {
    check_with(store, dir, MIGRATIONS)
}

fn check_with(store: &dyn MetadataStore, dir: &Path, migrations: &[Migration]) -> Result<bool> {
    let Some(found) = read::<u32>(store, dir, "schema")? else { return Ok(false) };
    let ours = u32::try_from(migrations.len()).unwrap_or(u32::MAX).saturating_add(1);
    if found > ours {
        let reason =
            format!("its schema is {found}, and this version knows those up to {ours}: use a newer one");
        return Err(Error::refused("open", dir.display(), reason));
    }
    for version in found..ours {
        let migration =
            version.checked_sub(1).and_then(|before| migrations.get(usize::try_from(before).ok()?));
        let Some(migration) = migration else { return Err(damaged(dir, "schema")) };
        migration(store)?;
        let mut batch = Batch::default();
        batch.put(own("schema"), (version + 1).to_string());
        store.apply(&batch)?;
    }
    Ok(true)
}

/// A value of ours; nothing where there is none.
pub(super) fn read<T: for<'a> Deserialize<'a>>(
    store: &dyn MetadataStore,
    dir: &Path,
    name: &str,
) -> Result<Option<T>> {
    let Some(value) = store.get(&own(name))? else { return Ok(None) };
    serde_json::from_slice(&value).map(Some).map_err(|_| damaged(dir, name))
}

/// Adds a value of ours to a batch.
pub(super) fn write<T: Serialize>(batch: &mut Batch, dir: &Path, name: &str, value: &T) -> Result<()> {
    let value = serde_json::to_vec(value).map_err(|error| Error::Metadata {
        what: What::new("write", dir.display()),
        reason: error.to_string(),
    })?;
    batch.put(own(name), value);
    Ok(())
}

fn damaged(dir: &Path, name: &str) -> Error {
    Error::Metadata { what: What::new("open", dir.display()), reason: format!("its {name} cannot be read") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Engine as _, Memory};

    #[test]
    fn an_older_schema_is_brought_up_to_date_step_by_step() {
        let dir = Path::new("db");
        let store = Memory::default().open(dir).unwrap();
        let steps: [Migration; 2] = [
            |store| {
                let mut batch = Batch::default();
                batch.put(*b"n/a/k", *b"2");
                store.apply(&batch)
            },
            |store| {
                assert_eq!(store.get(b"n/a/k")?.unwrap(), b"2", "the first step comes first");
                let mut batch = Batch::default();
                batch.put(*b"n/a/k", *b"3");
                store.apply(&batch)
            },
        ];
        assert!(!check_with(&*store, dir, &steps).unwrap(), "nothing there yet");
        let mut batch = Batch::default();
        batch.put(own("schema"), *b"1");
        store.apply(&batch).unwrap();
        assert!(check_with(&*store, dir, &steps).unwrap());
        assert_eq!(store.get(b"n/a/k").unwrap().unwrap(), b"3");
        assert_eq!(store.get(&own("schema")).unwrap().unwrap(), b"3");
        let refused = check_with(&*store, dir, &steps[..1]).unwrap_err().to_string();
        assert!(refused.contains("schema is 3") && refused.contains("up to 2"), "{refused}");
    }
}
