//! The time between opening the database and letting go of it.

use std::fs::File;
use std::time::{Duration, Instant};

use super::generation::GenerationFile;
use super::guarded::Guarded;
use super::lock::Turn;
use super::opening::{self, Opened};
use super::overlay::Changes;
use super::schema::{self, Mark};
use super::space::RECOVERABLE;
use super::{Batch, MetadataStore, Settings};
use crate::error::Result;

/// The database, open, while nobody else has it.
#[derive(Debug)]
pub(super) struct Session {
    opened: Opened,
    counter: File,
    since: Instant,
    /// How long it took to open, part of what a hand-over costs.
    cost: Duration,
    /// The journal lacks a batch that the database has.
    behind: bool,
    /// Let go last.
    turn: Turn,
}

impl Session {
    pub(super) fn open(
        settings: &Settings,
        generation: &GenerationFile,
        turn: Turn,
        suspect: bool,
        notices: &mut Vec<String>,
    ) -> Result<Self> {
        let begun = Instant::now();
        let (counter, counted) = generation.open()?;
        let opened = opening::open(settings, counted, suspect, notices)?;
        generation.write(&counter, opened.generation)?;
        Ok(Self { opened, counter, since: Instant::now(), cost: begun.elapsed(), behind: false, turn })
    }

    pub(super) fn store(&self) -> &dyn MetadataStore {
        &self.opened.store
    }

    pub(super) fn generation(&self) -> u64 {
        self.opened.generation
    }

    /// Whether it is of no use any more.
    pub(super) fn has_failed(&self) -> bool {
        self.opened.store.has_failed() || self.behind
    }

    /// Whether it is to be looked through before it is used again.
    pub(super) fn is_damaged(&self) -> bool {
        self.opened.store.is_damaged()
    }

    /// Whether it has been ours for so long that it is somebody else's turn, if there is anybody.
    pub(super) fn had_its_turn(&self, turn: Duration) -> bool {
        self.since.elapsed() >= turn.max(self.cost.min(turn * 5))
    }

    /// Whether another process waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.turn.is_wanted()
    }

    /// Makes changes durable: in the database, then in the journal, then in the count of generations.
    pub(super) fn commit(&mut self, changes: Changes, generation: &GenerationFile) -> Result<()> {
        let Opened { store, journal, dir, generation: current, mark } = &mut self.opened;
        let next = *current + 1;
        let mut batch = Batch::default();
        let mut journalled = Batch::default();
        let mut marked = *mark;
        for (key, value) in changes {
            if key.first() == Some(&RECOVERABLE) {
                count(&mut marked, store, &key, value.is_some())?;
                put(&mut journalled, key.clone(), value.clone());
            }
            put(&mut batch, key, value);
        }
        schema::write(&mut batch, dir, "generation", &next)?;
        if !journalled.is_empty() {
            marked.generation = next;
            schema::write(&mut batch, dir, "journal", &marked)?;
        }
        store.apply(&batch)?;
        (*current, *mark) = (next, marked);
        if !journalled.is_empty() {
            let appended = journal.append(next, journalled.iter());
            // Whoever opens it next finds the journal behind, and writes it anew.
            self.behind = appended.is_err();
            appended?;
        }
        generation.write(&self.counter, next)
    }

    /// Writes the journal anew where most of it is of no use. Nobody waits for that; where it fails, whoever opens the
    /// database next sees to it.
    pub(super) fn compact(&mut self, settings: &Settings) {
        let Opened { store, journal, dir, generation, mark } = &mut self.opened;
        if self.behind || mark.lines <= settings.dead_lines || mark.lines / 2 <= mark.live {
            return;
        }
        tracing::debug!(lines = mark.lines, live = mark.live, "writing the journal anew");
        match opening::rewrite_journal(store, dir, &settings.hints, *generation) {
            Ok(rewritten) => (*journal, *mark) = rewritten,
            Err(error) => {
                tracing::warn!(%error, "the journal could not be written anew");
                self.behind = true;
            }
        }
    }
}

/// What the change of one entry means for the journal.
fn count(mark: &mut Mark, store: &Guarded, key: &[u8], put: bool) -> Result<()> {
    let was = store.get(key)?.is_some();
    mark.lines += 1;
    match (was, put) {
        (false, true) => mark.live += 1,
        (true, false) => mark.live = mark.live.saturating_sub(1),
        _ => {}
    }
    Ok(())
}

fn put(batch: &mut Batch, key: Vec<u8>, value: Option<Vec<u8>>) {
    match value {
        Some(value) => batch.put(key, value),
        None => batch.delete(key),
    }
}
