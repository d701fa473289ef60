//! An event as it is kept: what every vertex tells takes no memory beside the note.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::ids::VertexName;
use crate::status::{Event, Log, What};

pub(super) struct Note {
    vertex: Option<Arc<VertexName>>,
    /// What is to be said beyond the kind.
    rest: Option<Box<Rest>>,
    at: Moment,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Started,
    Stopped,
    Cached,
    Preparing,
    Prepared,
    Completed,
    Else,
}

enum Rest {
    /// A write, with where it begins.
    Log(u64, Log),
    Else(What),
}

/// A time, in whole seconds since 1970, and nanoseconds after those: what it takes, and no filling.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
struct Moment {
    seconds: i64,
    nanos: u32,
}

impl Moment {
    fn of(at: SystemTime) -> Self {
        let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match at.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self { seconds: whole(after), nanos: after.subsec_nanos() },
            Err(before) => match before.duration() {
                before if before.subsec_nanos() == 0 => Self { seconds: -whole(before), nanos: 0 },
                before => Self { seconds: -whole(before) - 1, nanos: 1_000_000_000 - before.subsec_nanos() },
            },
        }
    }

    fn time(self) -> SystemTime {
        let (seconds, nanos) = (self.seconds, Duration::from_nanos(u64::from(self.nanos)));
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
        at + nanos
    }
}

impl Note {
    /// An event; if it is a write, with where that begins among all that its vertex wrote.
    pub(super) fn of(Event { at, vertex, what }: Event, begins: u64) -> Self {
        let (kind, rest) = match what {
            What::Started => (Kind::Started, None),
            What::Stopped => (Kind::Stopped, None),
            What::Cached => (Kind::Cached, None),
            What::Preparing => (Kind::Preparing, None),
            What::Prepared => (Kind::Prepared, None),
            What::Completed => (Kind::Completed, None),
            What::Log(log) => (Kind::Else, Some(Rest::Log(begins, log))),
            rest => (Kind::Else, Some(Rest::Else(rest))),
        };
        Self { vertex, rest: rest.map(Box::new), at: Moment::of(at), kind }
    }

    pub(super) fn event(&self) -> Event {
        let what = match (self.rest.as_deref(), self.kind) {
            (Some(Rest::Log(_, log)), _) => What::Log(log.clone()),
            (Some(Rest::Else(what)), _) => what.clone(),
            (None, Kind::Started) => What::Started,
            (None, Kind::Stopped) => What::Stopped,
            (None, Kind::Cached) => What::Cached,
            (None, Kind::Preparing) => What::Preparing,
            (None, Kind::Prepared) => What::Prepared,
            (None, Kind::Completed | Kind::Else) => What::Completed,
        };
        Event { at: self.at.time(), vertex: self.vertex.clone(), what }
    }

    /// Of a write: where it begins, and how many bytes it has.
    pub(super) fn write(&self) -> Option<(u64, u64)> {
        match self.rest.as_deref() {
            Some(Rest::Log(begins, log)) => Some((*begins, log.data.len() as u64)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_small_and_says_what_the_event_said() {
        assert!(size_of::<Option<Note>>() <= 32, "{} bytes", size_of::<Option<Note>>());
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

    #[test]
    fn times_are_kept_to_the_nanosecond_on_either_side_of_1970() {
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 1_000_000_001, 1_790_000_000_123_456_789] {
            let since = Duration::from_nanos(nanos);
            for at in [SystemTime::UNIX_EPOCH + since, SystemTime::UNIX_EPOCH - since] {
                let event = Event { at, vertex: None, what: What::Started };
                assert_eq!(Note::of(event, 0).event().at, at, "{nanos}");
            }
        }
    }
}
