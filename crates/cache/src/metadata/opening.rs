//! Opening: what is damaged is set aside, what is missing is filled from the journal, what disagrees is put right.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lazyblob_remote::What;

use super::guarded::Guarded;
use super::journal::{Journal, Survey, replay, survey};
use super::schema::{self, Mark, SCHEMA};
use super::space::{RECOVERABLE, after_prefix};
use super::{Batch, Entry, MetadataStore, Settings, disk};
use crate::error::{Error, IoContext, Result};

/// Entries of one batch while a database is filled, and of one page while it is looked through.
const PAGE: usize = 1000;

/// A database that can be used.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Guarded,
    pub(super) journal: Journal,
    pub(super) dir: PathBuf,
    pub(super) generation: u64,
    pub(super) mark: Mark,
}

/// Opens the database; who calls holds its lock. `counted` is what the generation's file says; `suspect` that it has
/// failed before, so that all of it is to be read. What the user is to know is added to `notices`.
pub(super) fn open(
    settings: &Settings,
    counted: u64,
    suspect: bool,
    notices: &mut Vec<String>,
) -> Result<Opened> {
    let mut opening = Opening { settings, dir: settings.meta.join(settings.engine.name()), counted, notices };
    match opening.attempt(suspect) {
        // Nothing was ever acknowledged in one that is not filled.
        Err(Error::Metadata { .. }) if opening.new_mark().exists() => {
            fs::remove_dir_all(&opening.dir).during("open", "the database", &opening.dir)?;
            opening.attempt(false)
        }
        Err(error @ Error::Metadata { .. }) => {
            let aside = opening.set_aside()?;
            tracing::warn!(%error, aside = %aside.display(), "a damaged database is set aside");
            opening.notices.push(format!("{error}; it is set aside as {}", aside.display()));
            opening.attempt(false)
        }
        outcome => outcome,
    }
}

struct Opening<'a> {
    settings: &'a Settings,
    dir: PathBuf,
    counted: u64,
    notices: &'a mut Vec<String>,
}

impl Opening<'_> {
    fn attempt(&mut self, suspect: bool) -> Result<Opened> {
        disk::create_dirs(&self.dir).during("open", "the database", &self.dir)?;
        let is_used = self.is_used().during("open", "the database", &self.dir)?;
        let store = Guarded::open(&*self.settings.engine, &self.dir)?;
        let exists = schema::check(&store, &self.dir)?;
        if is_used && !exists {
            return Err(self.outdated(0, self.counted));
        }
        if suspect {
            look_through(&store)?;
        }
        let journal = Journal::open(&self.settings.hints)?;
        if !exists {
            return self.fill(store, journal, self.counted);
        }
        self.is_filled()?;
        let generation = schema::read(&store, &self.dir, "generation")?.unwrap_or(0);
        let mark: Mark = schema::read(&store, &self.dir, "journal")?.unwrap_or_default();
        let tail = journal.as_ref().map(Journal::tail).transpose()?.flatten();
        let found = match &journal {
            Some(_) if tail == Some(mark.generation) => None,
            Some(journal) => Some(survey(journal.path())?),
            None => Some(Survey::default()),
        };
        let last = found.map_or(tail, |survey| survey.last).unwrap_or(0);
        if self.settings.engine.is_persistent() && (self.counted > generation || last > mark.generation) {
            return Err(self.outdated(generation, last.max(self.counted)));
        }
        let dir = self.dir.clone();
        match (found, journal) {
            (None, Some(journal)) => Ok(Opened { store, journal, dir, generation, mark }),
            (_, journal) if last > mark.generation => self.fill(store, journal, generation),
            (found, journal) => self.mend(store, journal, found.unwrap_or_default(), generation, mark),
        }
    }

    /// The journal is behind, torn or gone: the database is the truth.
    fn mend(
        &mut self,
        store: Guarded,
        journal: Option<Journal>,
        found: Survey,
        generation: u64,
        mark: Mark,
    ) -> Result<Opened> {
        if found.bad > 0 || (journal.is_none() && mark.live > 0) {
            let damage = if found.bad > 0 { "had lines that cannot be read" } else { "was gone" };
            let journal = self.settings.hints.join("journal");
            self.notices.push(format!("{} {damage}; it is written anew", journal.display()));
        }
        let dir = self.dir.clone();
        if let Some(mut journal) = journal
            && found.last == Some(mark.generation)
            && found.bad == 0
        {
            journal.cut(found.end)?;
            return Ok(Opened { store, journal, dir, generation, mark });
        }
        let (journal, mark) = rewrite_journal(&store, &dir, &self.settings.hints, generation)?;
        Ok(Opened { store, journal, dir, generation, mark })
    }

    /// Puts what the journal has into a database that is new, or was not filled to its end; or one that does not outlive
    /// its process.
    fn fill(&mut self, store: Guarded, journal: Option<Journal>, generation: u64) -> Result<Opened> {
        let found = journal.as_ref().map(|journal| survey(journal.path())).transpose()?.unwrap_or_default();
        remove_recoverable(&store)?;
        if let Some(journal) = &journal {
            put_back(&store, journal.path())?;
        }
        let live = count(&store)?;
        self.tell_of_filling(found, live);
        let generation = generation.max(self.counted).max(found.last.unwrap_or(0)) + 1;
        let mark = Mark { generation: found.last.unwrap_or(0), lines: found.lines, live };
        let mut batch = Batch::default();
        schema::write(&mut batch, &self.dir, "generation", &generation)?;
        schema::write(&mut batch, &self.dir, "journal", &mark)?;
        schema::write(&mut batch, &self.dir, "schema", &SCHEMA)?;
        store.apply(&batch)?;
        self.is_filled()?;
        let dir = self.dir.clone();
        match journal {
            Some(mut journal) if found.last.is_some() && found.bad == 0 => {
                journal.cut(found.end)?;
                Ok(Opened { store, journal, dir, generation, mark })
            }
            _ => {
                let (journal, mark) = rewrite_journal(&store, &dir, &self.settings.hints, generation)?;
                Ok(Opened { store, journal, dir, generation, mark })
            }
        }
    }

    fn tell_of_filling(&mut self, found: Survey, live: u64) {
        let was_used = self.counted > 0 || found.last.is_some();
        if was_used && self.settings.engine.is_persistent() {
            let dir = self.dir.display();
            self.notices.push(format!("{dir}: a new database, with {live} entries from the journal"));
        }
        if found.bad > 0 {
            let journal = self.settings.hints.join("journal");
            let bad = found.bad;
            self.notices.push(format!("{}: {bad} lines cannot be read, and are lost", journal.display()));
        }
    }

    /// Whether there should be something in the database: an engine may take files that it cannot read for none. A file
    /// beside it says that it is new, and perhaps not yet filled.
    fn is_used(&self) -> io::Result<bool> {
        let is_empty = fs::read_dir(&self.dir)?.next().is_none();
        let new = self.new_mark();
        if is_empty && !new.exists() {
            File::create(&new)?;
            disk::sync_dir(&self.settings.meta)?;
        }
        Ok(!is_empty && !new.exists() && self.counted > 0 && self.settings.engine.is_persistent())
    }

    fn new_mark(&self) -> PathBuf {
        self.settings.meta.join(format!("{}.new", self.settings.engine.name()))
    }

    /// It is filled: from now on it is no more taken for new.
    fn is_filled(&self) -> Result<()> {
        let new = self.new_mark();
        match fs::remove_file(&new) {
            Ok(()) => disk::sync_dir(&self.settings.meta).during("open", "the database", &new),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.during("open", "the database", &new),
        }
    }

    fn outdated(&self, generation: u64, newest: u64) -> Error {
        let reason = format!("it has forgotten what was stored: it is at {generation}, and was at {newest}");
        Error::Metadata { what: What::new("open", self.dir.display()), reason }
    }

    fn set_aside(&self) -> Result<PathBuf> {
        let name = self.settings.engine.name();
        let names = (1_u32..).map(|number| self.settings.meta.join(format!("{name}.broken-{number}")));
        for aside in names {
            if aside.symlink_metadata().is_err() {
                disk::rename(&self.dir, &aside).during("set aside", "the database", &self.dir)?;
                return Ok(aside);
            }
        }
        Err(Error::refused("set aside", self.dir.display(), "there are too many already"))
    }
}

/// Writes the journal anew from the database, and where it stands into that.
pub(super) fn rewrite_journal(
    store: &dyn MetadataStore,
    dir: &Path,
    hints: &Path,
    generation: u64,
) -> Result<(Journal, Mark)> {
    let to = recoverable_end();
    let (journal, live) = Journal::rewrite(hints, generation, |last, limit| {
        store.scan(&after(last.unwrap_or(&[RECOVERABLE]), last.is_some()), &to, limit)
    })?;
    let mark = Mark { generation, lines: live, live };
    let mut batch = Batch::default();
    schema::write(&mut batch, dir, "journal", &mark)?;
    store.apply(&batch)?;
    Ok((journal, mark))
}

fn put_back(store: &dyn MetadataStore, journal: &Path) -> Result<()> {
    let mut batch = Batch::default();
    replay(journal, None, |changes| {
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        if batch.len() >= PAGE { store.apply(&std::mem::take(&mut batch)) } else { Ok(()) }
    })?;
    store.apply(&batch)
}

fn remove_recoverable(store: &dyn MetadataStore) -> Result<()> {
    each_page(store, &[RECOVERABLE], &recoverable_end(), |page| {
        let mut batch = Batch::default();
        for (key, _) in page {
            batch.delete(key);
        }
        store.apply(&batch)
    })
}

fn count(store: &dyn MetadataStore) -> Result<u64> {
    let mut count = 0;
    each_page(store, &[RECOVERABLE], &recoverable_end(), |page| {
        count += u64::try_from(page.len()).unwrap_or(u64::MAX);
        Ok(())
    })?;
    Ok(count)
}

/// Reads everything, so that what cannot be read is known.
fn look_through(store: &dyn MetadataStore) -> Result<()> {
    each_page(store, &[], &[u8::MAX], |_| Ok(()))
}

fn each_page(
    store: &dyn MetadataStore,
    from: &[u8],
    to: &[u8],
    mut each: impl FnMut(Vec<Entry>) -> Result<()>,
) -> Result<()> {
    let mut from = from.to_vec();
    loop {
        let page = store.scan(&from, to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = after(last, true);
        each(page)?;
    }
}

/// Where to go on: at `key`, or behind it.
fn after(key: &[u8], behind: bool) -> Vec<u8> {
    let mut key = key.to_vec();
    if behind {
        key.push(0);
    }
    key
}

fn recoverable_end() -> Vec<u8> {
    after_prefix(&[RECOVERABLE]).unwrap_or_default()
}
