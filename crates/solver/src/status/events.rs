//! Events as a journal keeps them: as small as what happens to every vertex is, and in chunks, so that a long journal does
//! not reserve as much again.

use std::sync::Arc;
use std::time::SystemTime;

use crate::ids::VertexName;
use crate::status::{Event, What};

/// How many events a chunk has.
const CHUNK: usize = 64;

/// What happened: what is told of every vertex takes no memory beside it.
enum Told {
    Started,
    Cached,
    Preparing,
    Prepared,
    Completed,
    Else(Box<What>),
}

impl From<What> for Told {
    fn from(what: What) -> Self {
        match what {
            What::Started => Self::Started,
            What::Cached => Self::Cached,
            What::Preparing => Self::Preparing,
            What::Prepared => Self::Prepared,
            What::Completed => Self::Completed,
            rest => Self::Else(Box::new(rest)),
        }
    }
}

impl Told {
    fn what(&self) -> What {
        match self {
            Self::Started => What::Started,
            Self::Cached => What::Cached,
            Self::Preparing => What::Preparing,
            Self::Prepared => What::Prepared,
            Self::Completed => What::Completed,
            Self::Else(what) => (**what).clone(),
        }
    }
}

struct Kept {
    at: SystemTime,
    vertex: Option<Arc<VertexName>>,
    told: Told,
}

/// Events, in order.
#[derive(Default)]
pub(super) struct Events {
    /// `None` where an event was forgotten.
    chunks: Vec<Vec<Option<Kept>>>,
    /// How many were pushed.
    pub(super) len: usize,
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.len += 1;
        let Event { at, vertex, what } = event;
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Some(Kept { at, vertex, told: what.into() }));
        }
    }

    /// The event of this number, if it was not forgotten.
    pub(super) fn get(&self, number: usize) -> Option<Event> {
        let Kept { at, vertex, told } = self.chunks.get(number / CHUNK)?.get(number % CHUNK)?.as_ref()?;
        Some(Event { at: *at, vertex: vertex.clone(), what: told.what() })
    }

    pub(super) fn forget(&mut self, number: usize) {
        if let Some(kept) =
            self.chunks.get_mut(number / CHUNK).and_then(|chunk| chunk.get_mut(number % CHUNK))
        {
            *kept = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_vertex_tells_is_small() {
        assert!(size_of::<Option<Kept>>() <= 40, "{}", size_of::<Option<Kept>>());
    }

    #[test]
    fn events_come_out_as_they_went_in_but_for_those_forgotten() {
        let whats = [
            What::Started,
            What::Cached,
            What::Preparing,
            What::Prepared,
            What::Completed,
            What::Lost("all".to_owned()),
            What::Warning("of it".to_owned()),
        ];
        let mut events = Events::default();
        for what in whats.iter().cycle().take(3 * CHUNK) {
            events.push(Event { at: SystemTime::UNIX_EPOCH, vertex: None, what: what.clone() });
        }
        events.forget(CHUNK);
        for (number, what) in whats.iter().cycle().take(3 * CHUNK).enumerate() {
            let told = events.get(number).map(|event| format!("{:?}", event.what));
            assert_eq!(told, (number != CHUNK).then(|| format!("{what:?}")), "{number}");
        }
        assert!(events.get(3 * CHUNK).is_none());
    }
}
