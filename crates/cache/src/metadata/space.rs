//! Namespaces: keys of different spaces never meet.

/// Ours alone: the schema, the generation, where the journal stands.
pub(super) const OWN: u8 = b'm';
/// Spaces whose entries are in the journal too.
pub(super) const RECOVERABLE: u8 = b'r';
const OTHER: u8 = b'n';

/// A namespace of the database. Its name is part of every key: never call another one by a name that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Space {
    name: &'static str,
    recoverable: bool,
}

impl Space {
    /// A space whose entries are gone when the database is: they can be found out again.
    ///
    /// # Panics
    /// Where the name is empty or has a slash; in a `const` that is an error of the compiler.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        checked(name);
        Self { name, recoverable: false }
    }

    /// A space whose entries are kept in the journal as well: a database that is lost is filled with them again. Each
    /// batch that changes one of them costs another `fdatasync`.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub const fn recoverable(name: &'static str) -> Self {
        checked(name);
        Self { name, recoverable: true }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its entries outlive the database.
    #[must_use]
    pub const fn is_recoverable(&self) -> bool {
        self.recoverable
    }

    /// What all keys of the space begin with.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let kind = if self.recoverable { RECOVERABLE } else { OTHER };
        let mut prefix = Vec::with_capacity(self.name.len() + 3);
        prefix.extend([kind, b'/']);
        prefix.extend(self.name.as_bytes());
        prefix.push(b'/');
        prefix
    }

    /// The key as the store has it.
    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
        let mut full = self.prefix();
        full.extend(key);
        full
    }
}

/// The first key after all that begin with `prefix`; nothing where there is none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

const fn checked(name: &str) {
    assert!(!name.is_empty(), "a space has a name");
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        assert!(bytes[at] != b'/', "the name of a space has no slash");
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_one_begins() {
        assert_eq!(after_prefix(b"a/b/").unwrap(), b"a/b0");
        assert_eq!(after_prefix(b"a\xff\xff").unwrap(), b"b");
        assert_eq!(after_prefix(b"\xff\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }

    #[test]
    fn one_name_in_two_kinds_is_two_spaces() {
        assert_ne!(Space::new("a").key(b"k"), Space::recoverable("a").key(b"k"));
        assert_ne!(Space::new("a").key(b"b/k"), Space::new("ab").key(b"k"));
    }
}
