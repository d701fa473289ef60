//! What a process said it did, and what must be so after it was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What one of those that work says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// By the clock that all processes share, in nanoseconds.
    pub(crate) at: u128,
    pub(crate) worker: usize,
    pub(crate) what: What,
}

/// Said before something is begun, and when it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum What {
    Begin(Deed),
    End(Option<Fact>),
}

impl Said {
    /// Said now.
    pub(crate) fn now(worker: usize, what: What) -> Self {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        Self { at, worker, what }
    }

    pub(crate) fn is_end(&self) -> bool {
        matches!(self.what, What::End(_))
    }
}

/// What is begun, as far as it may change what is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Deed {
    Pull { name: String, digest: String },
    Remove { name: String },
    Prune { all: bool },
    Other,
}

/// What is so from now on, until it is pruned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fact {
    /// All blobs of this image are here.
    Local { image: String },
    /// All its layers are unpacked.
    Unpacked { image: String },
    /// There is a record of this chain.
    Imported { id: String, chain: String },
    /// There is a record of an image's tree with a file `made` of this content in it.
    Committed { id: String, image: String, content: String },
    /// That tree is a snapshot.
    Finalized { id: String, image: String, content: String },
    /// That record has a blob, which is here.
    Blob { id: String, blob: String },
    /// There is a record of something put together, which can be unpacked.
    Composed { id: String },
}

impl Fact {
    fn image(&self) -> Option<&str> {
        match self {
            Self::Local { image } | Self::Unpacked { image } => Some(image),
            _ => None,
        }
    }
}

/// What is known of a root.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// What each name may stand for: several digests, or none, while it is not known whether it was changed.
    pub(crate) names: BTreeMap<String, BTreeSet<Option<String>>>,
    pub(crate) facts: Vec<Fact>,
    /// What each worker is at, and whether something was pruned meanwhile.
    running: BTreeMap<usize, (Deed, bool)>,
    /// Deeds that were done.
    pub(crate) done: usize,
}

impl Oracle {
    /// Takes note of what was said by processes that have been killed, each in its order.
    pub(crate) fn heard(&mut self, mut said: Vec<Said>) {
        said.sort_by_key(|said| said.at);
        for Said { worker, what, .. } in said {
            match what {
                What::Begin(deed) => self.begins(worker, deed),
                What::End(fact) => self.ends(worker, fact),
            }
        }
        self.running.clear();
    }

    /// Names that are there.
    pub(crate) fn there(&self) -> Vec<String> {
        let there = self.names.iter().filter(|(_, possible)| !possible.contains(&None));
        there.map(|(name, _)| name.clone()).collect()
    }

    fn begins(&mut self, worker: usize, deed: Deed) {
        let pruning = self.running.values().any(|(deed, _)| matches!(deed, Deed::Prune { .. }));
        match &deed {
            Deed::Pull { name, digest } => {
                if pruning {
                    self.unnamed(name, Some(digest));
                }
                self.possible(name).insert(Some(digest.clone()));
            }
            Deed::Remove { name } => {
                if pruning {
                    self.unnamed(name, None);
                }
                self.possible(name).insert(None);
            }
            Deed::Prune { all } => self.pruned(*all),
            Deed::Other => {}
        }
        let before = self.running.insert(worker, (deed, pruning));
        assert!(before.is_none(), "a worker does one thing at a time");
    }

    fn ends(&mut self, worker: usize, fact: Option<Fact>) {
        let (deed, overlapped) = self.running.remove(&worker).unwrap();
        self.done += 1;
        match deed {
            Deed::Pull { name, digest } => *self.possible(&name) = BTreeSet::from([Some(digest)]),
            Deed::Remove { name } => *self.possible(&name) = BTreeSet::from([None]),
            Deed::Prune { .. } | Deed::Other => {}
        }
        if !overlapped {
            self.facts.extend(fact);
        }
    }

    /// What each name may stand for; nothing at first.
    fn possible(&mut self, name: &str) -> &mut BTreeSet<Option<String>> {
        self.names.entry(name.to_owned()).or_insert_with(|| BTreeSet::from([None]))
    }

    /// A name may stand for something else while somebody prunes.
    fn unnamed(&mut self, name: &str, by: Option<&String>) {
        let before = self.possible(name).clone();
        self.facts.retain(|fact| {
            let image = fact.image().map(str::to_owned);
            image.as_ref() == by || !before.contains(&image)
        });
    }

    /// What no name stands for goes, and with `all` whatever can be had again.
    fn pruned(&mut self, all: bool) {
        self.running.values_mut().for_each(|(_, overlapped)| *overlapped = true);
        let names = &self.names;
        let sure = |image: &str| {
            names.values().any(|possible| {
                possible.len() == 1 && possible.first().is_some_and(|only| only.as_deref() == Some(image))
            })
        };
        self.facts.retain(|fact| !all && fact.image().is_some_and(sure));
    }
}
