//! What is to be pruned, and how far.

use std::str::FromStr;
use std::time::Duration;

use super::usage::Entry;
use crate::record::{RecordId, RecordType};

/// What is to be pruned. Nothing said prunes all that nobody has a name for and nobody uses.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Layers that are named, internal records and those of frontends, too. What has a name and can be fetched again becomes
    /// lazy; what cannot is kept.
    pub all: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Only as much as this asks for.
    pub space: Space,
    /// Only what all of these are true of.
    pub filters: Vec<Filter>,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// How much may be kept, in bytes. Without any limit nothing is kept for its size's sake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// No more than this.
    pub max_used: Option<u64>,
    /// So little that this much of the disk is free.
    pub min_free: Option<u64>,
    /// But this much in any case.
    pub reserved: u64,
}

impl Space {
    /// How many of `total` bytes may be kept where `free` bytes of the disk are; nothing where no limit is set.
    ///
    /// The rule is BuildKit's, but that a limit of nothing and no limit are two things.
    #[must_use]
    pub fn keep(self, total: u64, free: u64) -> Option<u64> {
        if self == Self::default() {
            return None;
        }
        let mut keep = self.max_used.unwrap_or(total);
        if let Some(min_free) = self.min_free {
            let excess = min_free.saturating_sub(free);
            keep = keep.min(total.saturating_sub(excess));
        } else if self.max_used.is_none() {
            keep = self.reserved;
        }
        Some(keep.max(self.reserved))
    }
}

/// A condition on what may be pruned or is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// The record.
    Id(RecordId),
    /// Its description has this in it.
    Description(String),
    /// What it is for.
    Type(RecordType),
    /// Whether it may change.
    Mutable(bool),
    /// Whether it is in use.
    InUse(bool),
    /// Whether some name stands for it.
    Shared(bool),
    /// Whether its blob is not here.
    Lazy(bool),
    /// Whether it stands on this record.
    Parent(RecordId),
}

impl Filter {
    /// Whether it is true of `entry`.
    #[must_use]
    pub fn admits(&self, entry: &Entry) -> bool {
        match self {
            Self::Id(id) => entry.record.id == *id,
            Self::Description(text) => entry.record.description.contains(text),
            Self::Type(kind) => entry.record.record_type == *kind,
            Self::Mutable(mutable) => entry.record.mutable == *mutable,
            Self::InUse(in_use) => entry.in_use == *in_use,
            Self::Shared(named) => entry.named == *named,
            Self::Lazy(lazy) => (entry.lazy_size > 0) == *lazy,
            Self::Parent(id) => entry.record.kind.parents().any(|parent| parent == id),
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    /// `KEY=VALUE`; the keys are `id`, `description`, `type`, `mutable`, `inuse`, `shared`, `lazy`, `parent`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
        let yes = || value.parse::<bool>().map_err(|_| format!("`{value}` is not true or false"));
        let id = || RecordId::parse(value).map_err(|_| format!("`{value}` is not a record's id"));
        Ok(match key {
            "id" => Self::Id(id()?),
            "parent" => Self::Parent(id()?),
            "description" => Self::Description(value.to_owned()),
            "mutable" => Self::Mutable(yes()?),
            "inuse" => Self::InUse(yes()?),
            "shared" => Self::Shared(yes()?),
            "lazy" => Self::Lazy(yes()?),
            "type" => {
                let kinds = [
                    RecordType::Regular,
                    RecordType::Internal,
                    RecordType::Frontend,
                    RecordType::SourceLocal,
                    RecordType::SourceGitCheckout,
                    RecordType::ExecCacheMount,
                ];
                let known = kinds.into_iter().find(|kind| kind.name() == value);
                Self::Type(known.ok_or_else(|| {
                    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                    format!("`{value}` is no type; there are: {}", names.join(", "))
                })?)
            }
            _ => {
                return Err(format!(
                    "`{key}` cannot be filtered by; there are: id, description, type, mutable, inuse, shared, lazy, parent"
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BuildKit row 40: the cases of its own table, total and free of a disk of 10000.
    #[test]
    fn how_much_is_kept() {
        let space = |max_used, min_free, reserved| Space { max_used, min_free, reserved };
        let table = [
            (1000, 9000, space(None, None, 0), None),
            (1000, 9000, space(Some(2000), None, 0), Some(2000)),
            (7000, 3000, space(None, Some(5000), 0), Some(5000)),
            (7000, 3000, space(None, Some(5000), 6000), Some(6000)),
            (7000, 3000, space(Some(4000), Some(5000), 2000), Some(4000)),
            (4000, 2000, space(Some(2000), None, 0), Some(2000)),
            (4000, 2000, space(None, Some(5000), 0), Some(1000)),
            (4000, 2000, space(None, Some(5000), 2000), Some(2000)),
            (4000, 2000, space(Some(4000), Some(5000), 2000), Some(2000)),
        ];
        for (total, free, space, expected) in table {
            assert_eq!(space.keep(total, free), expected, "{space:?}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_a_limit() {
        let nothing = Space { max_used: Some(0), ..Space::default() };
        assert_eq!(nothing.keep(10, 10), Some(0));
    }

    #[test]
    fn filters_say_what_is_wrong_with_them() {
        assert_eq!("inuse=true".parse(), Ok(Filter::InUse(true)));
        assert_eq!("type=exec.cachemount".parse(), Ok(Filter::Type(RecordType::ExecCacheMount)));
        for (text, reason) in
            [("x", "KEY=VALUE"), ("shared=maybe", "maybe"), ("type=x", "regular"), ("size=1", "inuse")]
        {
            let error = text.parse::<Filter>().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
