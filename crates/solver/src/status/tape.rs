//! Events in their order, kept within bounds for those who come late.
//!
//! Of a progress only the last state is kept. Of what a vertex writes its beginning and its end are kept, half of the limit
//! each: a reader who comes to the hole between them is told how much of it it missed ([`What::Dropped`]), a reader who keeps
//! up misses nothing. What is erased leaves a hole, and holes are closed when they are the greater part; so a reader
//! remembers a number and no place.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::ids::VertexName;
use crate::status::note::Note;
use crate::status::{Event, What};

/// What keeping a write costs besides its bytes: many small ones must not cost more than one large one.
const WRITE: usize = 128;

/// Fewer holes than this are left alone.
const HOLES: usize = 64;

/// The subject of an event.
type Subject = Option<Arc<VertexName>>;

pub(super) struct Tape {
    entries: Vec<Entry>,
    holes: usize,
    next: u64,
    /// Of those that tell progress or write.
    kept: HashMap<Subject, Kept>,
    limit: usize,
}

struct Entry {
    number: u64,
    note: Option<Note>,
}

/// What is kept of a vertex.
#[derive(Default)]
struct Kept {
    /// The number of the last state of each progress.
    progress: HashMap<Arc<str>, u64>,
    /// How many bytes it wrote, and how much it costs to keep their beginning.
    written: u64,
    head: usize,
    /// The writes after the beginning, with what they cost.
    tail: VecDeque<(u64, usize)>,
    tail_cost: usize,
}

/// How far a reader is.
#[derive(Default)]
pub(super) struct Cursor {
    next: u64,
    /// How much of the writes of each vertex it has passed.
    passed: HashMap<Subject, u64>,
}

impl Tape {
    /// An empty one that keeps this many bytes of what each vertex writes.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), holes: 0, next: 0, kept: HashMap::new(), limit }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an event. [`What::Dropped`], told by another tape, makes a hole here too.
    pub(super) fn push(&mut self, event: Event) {
        let number = self.next;
        let mut begins = 0;
        match &event.what {
            What::Progress(progress) => {
                let kept = self.kept.entry(event.vertex.clone()).or_default();
                if let Some(before) = kept.progress.insert(Arc::clone(&progress.id), number) {
                    self.erase(before);
                }
            }
            What::Log(log) => {
                let kept = self.kept.entry(event.vertex.clone()).or_default();
                begins = kept.written;
                kept.written += log.data.len() as u64;
                kept.make_room(number, log.data.len().saturating_add(WRITE), self.limit);
                while let Some(before) =
                    self.kept.get_mut(&event.vertex).and_then(|kept| kept.excess(self.limit))
                {
                    self.erase(before);
                }
            }
            What::Dropped { bytes } => {
                self.kept.entry(event.vertex.clone()).or_default().written += bytes;
                return;
            }
            _ => {}
        }
        self.next += 1;
        if self.entries.len() == self.entries.capacity() {
            // A quarter more and not as much again: a large job tells hundreds of thousands.
            self.entries.reserve_exact(self.entries.len() / 4 + 8);
        }
        self.entries.push(Entry { number, note: Some(Note::of(event, begins)) });
    }

    fn place(&self, number: u64) -> usize {
        self.entries.partition_point(|entry| entry.number < number)
    }

    fn erase(&mut self, number: u64) {
        let at = self.place(number);
        let Some(entry) = self.entries.get_mut(at).filter(|entry| entry.number == number) else { return };
        self.holes += usize::from(entry.note.take().is_some());
        if self.holes > HOLES && self.holes > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.note.is_some());
            self.holes = 0;
        }
    }

    /// The next event for a reader.
    pub(super) fn read(&self, cursor: &mut Cursor) -> Option<Event> {
        let from = &self.entries[self.place(cursor.next)..];
        let (entry, note) = from.iter().find_map(|entry| Some((entry, entry.note.as_ref()?)))?;
        let event = note.event();
        cursor.next = entry.number + 1;
        if let Some((begins, written)) = note.write() {
            let passed = cursor.passed.entry(event.vertex.clone()).or_default();
            let bytes = begins.saturating_sub(*passed);
            *passed = begins;
            if bytes > 0 {
                cursor.next = entry.number;
                return Some(Event { what: What::Dropped { bytes }, ..event });
            }
            *passed += written;
        }
        Some(event)
    }
}

impl Kept {
    /// Counts a write to the beginning, as long as there is room, or to the end.
    fn make_room(&mut self, number: u64, cost: usize, limit: usize) {
        if self.tail.is_empty() && self.head.saturating_add(cost) <= limit / 2 {
            self.head += cost;
        } else {
            self.tail.push_back((number, cost));
            self.tail_cost = self.tail_cost.saturating_add(cost);
        }
    }

    /// The oldest write of the end, if that is too much. The last one is kept, however large.
    fn excess(&mut self, limit: usize) -> Option<u64> {
        if self.tail_cost <= limit - limit / 2 || self.tail.len() < 2 {
            return None;
        }
        let (number, cost) = self.tail.pop_front()?;
        self.tail_cost -= cost;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::status::{Log, Progress};

    fn event(what: What) -> Event {
        Event { at: SystemTime::UNIX_EPOCH, vertex: None, what }
    }

    fn log(text: &str) -> Event {
        event(What::Log(Log { stream: 1, data: Bytes::copy_from_slice(text.as_bytes()) }))
    }

    fn progress(id: &str, current: u64) -> Event {
        let (id, action, total) = (id.into(), "pull".into(), None);
        event(What::Progress(Progress { id, action, current, total, done: false }))
    }

    /// What a reader is told, in short.
    fn rest(tape: &Tape, cursor: &mut Cursor) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(event) = tape.read(cursor) {
            told.push(match event.what {
                What::Log(log) => String::from_utf8_lossy(&log.data).into_owned(),
                What::Dropped { bytes } => format!("({bytes})"),
                What::Progress(progress) => format!("{}={}", progress.id, progress.current),
                other => format!("{other:?}"),
            });
        }
        told
    }

    #[test]
    fn of_a_progress_the_last_state_is_kept_and_nothing_is_read_twice() {
        let mut tape = Tape::new(0);
        let (mut early, mut late) = (Cursor::default(), Cursor::default());
        tape.push(progress("a", 0));
        tape.push(progress("b", 0));
        assert_eq!(rest(&tape, &mut early), ["a=0", "b=0"]);
        for current in 1..=100_000 {
            tape.push(progress("a", current));
        }
        tape.push(event(What::Started));
        assert!(tape.entries.len() < 2 * HOLES + 8, "{} entries", tape.entries.len());
        assert_eq!(rest(&tape, &mut early), ["a=100000", "Started"]);
        assert_eq!(rest(&tape, &mut late), ["b=0", "a=100000", "Started"]);
        tape.push(progress("b", 1));
        assert_eq!(rest(&tape, &mut early), ["b=1"]);
        assert_eq!(rest(&tape, &mut late), ["b=1"]);
        assert_eq!(rest(&tape, &mut late), [""; 0]);
    }

    #[test]
    fn the_beginning_and_the_end_of_a_log_are_kept() {
        let write = |n: usize| format!("{n:010}");
        // Room for two writes at each end.
        let mut tape = Tape::new(4 * (10 + WRITE));
        let (mut live, mut slow) = (Cursor::default(), Cursor::default());
        for n in 0..10_000 {
            tape.push(log(&write(n)));
            assert_eq!(rest(&tape, &mut live), [write(n)]);
            if n == 2 {
                assert_eq!(rest(&tape, &mut slow), [write(0), write(1), write(2)]);
            }
        }
        assert!(tape.entries.len() < 2 * HOLES + 8, "{} entries", tape.entries.len());
        assert_eq!(tape.kept[&None].tail.len(), 2);
        let end = [write(9998), write(9999)];
        assert_eq!(rest(&tape, &mut slow), [&["(99950)".to_owned()], end.as_slice()].concat());
        let all = [write(0), write(1), "(99960)".to_owned(), write(9998), write(9999)];
        assert_eq!(rest(&tape, &mut Cursor::default()), all);

        // Told on to another tape, it is told from there as it was here.
        let (mut next, mut cursor) = (Tape::new(4 * (10 + WRITE)), Cursor::default());
        while let Some(event) = tape.read(&mut cursor) {
            next.push(event);
        }
        assert_eq!(rest(&next, &mut Cursor::default()), all);
    }

    #[test]
    fn many_small_writes_cost_no_more_than_large_ones_and_the_last_one_is_always_kept() {
        let mut tape = Tape::new(100 * (1 + WRITE));
        (0..1_000_000).for_each(|_| tape.push(log("x")));
        assert!(tape.entries.len() <= 2 * 100 + 2, "{} entries", tape.entries.len());
        let mut tape = Tape::new(0);
        tape.push(log("a"));
        tape.push(log("bb"));
        assert_eq!(rest(&tape, &mut Cursor::default()), ["(1)", "bb"]);
    }
}
