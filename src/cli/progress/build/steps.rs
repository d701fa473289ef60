//! The vertices of a build as people see them: numbered as they come up, with what is going on in each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lazyblob::remote::Digest;
use lazyblob::solver::{self, Event, Progress, VertexName, What};

/// How a vertex stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Running,
    Cached,
    Done,
    Failed,
}

/// A vertex that something was told of.
#[derive(Debug)]
pub(super) struct Step {
    /// From 1, in the order in which they came up.
    pub(super) number: usize,
    pub(super) name: Arc<VertexName>,
    pub(super) stage: Stage,
    /// Whether its outputs are being prepared for those that have them as inputs.
    pub(super) preparing: bool,
    since: Option<SystemTime>,
    /// What it took until it last stopped.
    took: Duration,
    /// Parts of its work that are not over, in the order in which they came up.
    pub(super) parts: Vec<Progress>,
    /// The last line that it wrote, without its end if that has not come.
    pub(super) last: String,
}

impl Step {
    /// Whether something is going on in it.
    pub(super) fn is_active(&self) -> bool {
        self.stage == Stage::Running || self.preparing || !self.parts.is_empty()
    }

    /// How long work has gone on in it, all in all.
    pub(super) fn time(&self, now: SystemTime) -> Duration {
        let going = self.since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default();
        self.took + going
    }

    fn tell(&mut self, event: &Event) {
        match &event.what {
            What::Started => self.stage = Stage::Running,
            What::Stopped => self.stage = Stage::Waiting,
            What::Cached => self.stage = Stage::Cached,
            What::Completed => self.stage = Stage::Done,
            What::Failed(_) => self.stage = Stage::Failed,
            What::Lost(_) => self.stage = Stage::Waiting,
            What::Preparing => self.preparing = true,
            What::Prepared => self.preparing = false,
            What::Progress(part) => self.part(part),
            What::Log(log) => self.wrote(&log.data),
            _ => {}
        }
        match (self.since, self.stage == Stage::Running || self.preparing) {
            (None, true) => self.since = Some(event.at),
            (Some(since), false) => {
                self.took += event.at.duration_since(since).unwrap_or_default();
                self.since = None;
            }
            _ => {}
        }
    }

    fn part(&mut self, part: &Progress) {
        let known = self.parts.iter().position(|known| known.id == part.id);
        match (known, part.done) {
            (Some(known), true) => drop(self.parts.remove(known)),
            (Some(known), false) => self.parts[known] = part.clone(),
            (None, true) => {}
            (None, false) => self.parts.push(part.clone()),
        }
    }

    fn wrote(&mut self, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        let line = text.trim_end_matches(['\n', '\r']).rsplit(['\n', '\r']).next().unwrap_or_default();
        line.clone_into(&mut self.last);
    }
}

/// All vertices that something was told of.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    by_digest: HashMap<Digest, usize>,
}

impl Steps {
    /// Takes an event in. Returns the vertex it is about and whether that came up just now.
    pub(super) fn event(&mut self, event: &Event) -> Option<(&Step, bool)> {
        let name = event.vertex.as_ref()?;
        let at = self.by_digest.get(&name.digest).copied();
        let new = at.is_none();
        let at = at.unwrap_or(self.steps.len());
        if new {
            self.by_digest.insert(name.digest.clone(), at);
            self.steps.push(Step {
                number: at + 1,
                name: Arc::clone(name),
                stage: Stage::Waiting,
                preparing: false,
                since: None,
                took: Duration::ZERO,
                parts: Vec::new(),
                last: String::new(),
            });
        }
        let step = &mut self.steps[at];
        step.tell(event);
        Some((step, new))
    }

    /// Those in which something is going on.
    pub(super) fn active(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_active())
    }

    /// How many are over, and how many there are.
    pub(super) fn count(&self) -> (usize, usize) {
        let over = |step: &&Step| matches!(step.stage, Stage::Cached | Stage::Done | Stage::Failed);
        (self.steps.iter().filter(over).count(), self.steps.len())
    }
}

/// A part of a vertex' work in a few words: `sha256:0123456789ab downloading 1.00 MiB / 3.50 MiB`.
pub(super) fn part(part: &Progress) -> String {
    let id = match part.id.split_once(':') {
        Some((algorithm, hex)) if hex.len() > 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{algorithm}:{}", &hex[..12])
        }
        _ => part.id.to_string(),
    };
    let bytes = indicatif::HumanBytes;
    match part.total {
        Some(total) if part.current > 0 && part.current < total => {
            format!("{id} {} {} / {}", part.action, bytes(part.current), bytes(total))
        }
        Some(total) if total > 0 => format!("{id} {} {}", part.action, bytes(total)),
        None if part.current > 0 => format!("{id} {} {}", part.action, bytes(part.current)),
        _ => format!("{id} {}", part.action),
    }
}

/// Why a vertex failed: its name and what it was doing stand above.
pub(super) fn cause(error: &solver::Error) -> String {
    match error {
        solver::Error::Op { cause, .. } => shown(&cause.to_string()),
        other => shown(&other.to_string()),
    }
}

/// What may be shown of text that a command wrote: no sequence that a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            // ECMA-48: ESC [ parameters, ended by a letter or one of its like.
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                chars.by_ref().find(|end| ('\u{40}'..='\u{7e}').contains(end));
            }
            '\t' => out.push(' '),
            next if next.is_control() => {}
            next => out.push(next),
        }
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use lazyblob::remote::digest::sha256;
    use lazyblob::solver::Log;

    use super::*;

    /// An event of the vertex called `name`, so many milliseconds after the beginning.
    pub(in super::super) fn event(name: &str, at: u64, what: What) -> Event {
        let vertex = Some(Arc::new(VertexName { digest: sha256(name.as_bytes()), name: name.into() }));
        Event::new(SystemTime::UNIX_EPOCH + Duration::from_millis(at), vertex, what)
    }

    pub(in super::super) fn log(text: &str) -> What {
        What::Log(Log { stream: 1, data: Bytes::copy_from_slice(text.as_bytes()) })
    }

    pub(in super::super) fn moved(current: u64, done: bool) -> What {
        let id = format!("sha256:{}", "ab".repeat(32)).into();
        What::Progress(Progress { id, action: "downloading".into(), current, total: Some(2048), done })
    }

    #[test]
    fn a_vertex_has_its_number_its_stage_and_its_time() {
        let mut steps = Steps::default();
        for what in [What::Started, What::Completed] {
            steps.event(&event("a", 0, what));
        }
        steps.event(&event("b", 100, What::Started));
        let (step, new) = steps.event(&event("b", 350, What::Completed)).unwrap();
        assert_eq!((step.number, step.stage, new), (2, Stage::Done, false));
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        assert_eq!(step.time(later), Duration::from_millis(250), "it is over");
        assert_eq!((steps.active().count(), steps.count()), (0, (2, 2)));
    }

    /// BuildKit row 111: what is pulled for somebody above is work of the image's vertex, long after that was done.
    #[test]
    fn what_moves_makes_a_vertex_active_again() {
        let mut steps = Steps::default();
        steps.event(&event("image", 0, What::Started));
        steps.event(&event("image", 10, What::Completed));
        steps.event(&event("image", 20, What::Preparing));
        steps.event(&event("image", 20, moved(1024, false)));
        let said: Vec<_> = steps.active().flat_map(|step| step.parts.iter().map(part)).collect();
        assert_eq!(said, ["sha256:abababababab downloading 1.00 KiB / 2.00 KiB"]);
        steps.event(&event("image", 30, moved(2048, true)));
        let (step, _) = steps.event(&event("image", 40, What::Prepared)).unwrap();
        assert!(!step.is_active());
        assert_eq!(step.time(SystemTime::UNIX_EPOCH), Duration::from_millis(30));
    }

    #[test]
    fn only_digests_are_shortened() {
        let named = |id: &str| {
            part(&Progress {
                id: id.into(),
                action: "resolving".into(),
                current: 0,
                total: None,
                done: false,
            })
        };
        assert_eq!(
            named("resolve localhost:5000/team/base:1"),
            "resolve localhost:5000/team/base:1 resolving"
        );
        assert_eq!(named(&format!("sha256:{}", "0123456789ab".repeat(5))), "sha256:0123456789ab resolving");
    }

    #[test]
    fn what_a_command_writes_does_not_rule_the_terminal() {
        assert_eq!(shown("\u{1b}[31mred\u{1b}[0m\ta\u{7}b\u{1b}[2J"), "red ab");
        assert_eq!(shown("plain"), "plain");
    }
}
