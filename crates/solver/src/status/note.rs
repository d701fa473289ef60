//! An event as it is kept: what every vertex tells takes no memory beside the note.

use std::sync::Arc;
use std::time::SystemTime;

use crate::ids::VertexName;
use crate::status::{Event, Log, What};

pub(super) struct Note {
    at: SystemTime,
    vertex: Option<Arc<VertexName>>,
    what: Short,
}

enum Short {
    Started,
    Stopped,
    Cached,
    Preparing,
    Prepared,
    Completed,
    Log(Box<(u64, Log)>),
    Else(Box<What>),
}

impl Note {
    /// An event; if it is a write, with where that begins among all that its vertex wrote.
    pub(super) fn of(Event { at, vertex, what }: Event, begins: u64) -> Self {
        let what = match what {
            What::Started => Short::Started,
            What::Stopped => Short::Stopped,
            What::Cached => Short::Cached,
            What::Preparing => Short::Preparing,
            What::Prepared => Short::Prepared,
            What::Completed => Short::Completed,
            What::Log(log) => Short::Log(Box::new((begins, log))),
            rest => Short::Else(Box::new(rest)),
        };
        Self { at, vertex, what }
    }

    pub(super) fn event(&self) -> Event {
        let what = match &self.what {
            Short::Started => What::Started,
            Short::Stopped => What::Stopped,
            Short::Cached => What::Cached,
            Short::Preparing => What::Preparing,
            Short::Prepared => What::Prepared,
            Short::Completed => What::Completed,
            Short::Log(write) => What::Log(write.1.clone()),
            Short::Else(what) => (**what).clone(),
        };
        Event { at: self.at, vertex: self.vertex.clone(), what }
    }

    /// Of a write: where it begins, and how many bytes it has.
    pub(super) fn write(&self) -> Option<(u64, u64)> {
        match &self.what {
            Short::Log(write) => Some((write.0, write.1.data.len() as u64)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_small_and_says_what_the_event_said() {
        assert!(size_of::<Option<Note>>() <= 40, "{} bytes", size_of::<Option<Note>>());
        let log = Log { stream: 2, data: "text".into() };
        let whats = [
            What::Started,
            What::Stopped,
            What::Cached,
            What::Preparing,
            What::Prepared,
            What::Completed,
            What::Lost("all".to_owned()),
            What::Log(log),
        ];
        for what in whats {
            let note = Note::of(Event { at: SystemTime::UNIX_EPOCH, vertex: None, what: what.clone() }, 7);
            assert_eq!(format!("{:?}", note.event().what), format!("{what:?}"));
            assert_eq!(note.write(), matches!(what, What::Log(_)).then_some((7, 4)));
        }
    }
}
