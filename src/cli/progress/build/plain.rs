//! Lines for logs, each with the number of its vertex.

use std::collections::HashMap;
use std::sync::Arc;

use lazyblob::solver::{Event, What};

use super::Show;
use super::steps::{Steps, cause, part, shown};
use crate::cli::output;

/// A line that is longer is shown in parts, in bytes.
const LONGEST: usize = 64 * 1024;

/// Says what happens to vertices, what they write line by line, and each phase of what moves.
#[derive(Default)]
pub(super) struct Plain {
    steps: Steps,
    /// Of each vertex and stream, what has not ended its line.
    open: HashMap<(usize, u8), Vec<u8>>,
    /// What was said last of each part of a vertex' work.
    said: HashMap<(usize, Arc<str>), Arc<str>>,
    /// The vertex that the last line was about.
    last: usize,
}

impl Plain {
    fn lines(&mut self, event: &Event) -> Vec<String> {
        let mut lines = Vec::new();
        let Some((step, new)) = self.steps.event(event) else {
            if let What::Warning(warning) = &event.what {
                lines.push(format!("WARNING: {warning}"));
            }
            return lines;
        };
        let number = step.number;
        if new {
            if self.last != 0 {
                lines.push(String::new());
            }
            lines.push(format!("#{number} {}", shown(&step.name.name)));
            self.last = number;
        }
        let time = step.time(event.at).as_secs_f64();
        let mut said = Vec::new();
        match &event.what {
            What::Cached => said.push("CACHED".to_owned()),
            What::Completed => said.push(format!("DONE {time:.1}s")),
            What::Failed(error) => said.push(format!("ERROR: {}", cause(error))),
            What::Lost(cause) => said.push(format!("its result is gone, and is made again: {cause}")),
            What::Stopped => said.push("STOPPED".to_owned()),
            What::Warning(warning) => said.push(format!("WARNING: {warning}")),
            What::Dropped { bytes } => said.push(format!("[{bytes} bytes of output are not shown]")),
            What::Progress(progress) => {
                let known =
                    self.said.insert((number, Arc::clone(&progress.id)), Arc::clone(&progress.action));
                if progress.done {
                    self.said.remove(&(number, Arc::clone(&progress.id)));
                }
                if known.as_ref() != Some(&progress.action) {
                    said.push(part(progress));
                }
            }
            What::Log(log) => {
                let open = self.open.entry((number, log.stream)).or_default();
                // What is open has no end of a line in it, and is never as long as the longest one.
                for part in log.data.split_inclusive(|byte| *byte == b'\n') {
                    let mut part = part;
                    while !part.is_empty() {
                        let (fits, rest) = part.split_at(part.len().min(LONGEST - open.len()));
                        open.extend_from_slice(fits);
                        part = rest;
                        if open.len() == LONGEST || open.ends_with(b"\n") {
                            said.push(format!("{time:.3} {}", text(open)));
                            open.clear();
                        }
                    }
                }
            }
            _ => {}
        }
        if matches!(event.what, What::Completed | What::Failed(_) | What::Stopped) {
            let rest = [1, 2].map(|stream| self.open.remove(&(number, stream)).unwrap_or_default());
            let rest =
                rest.iter().filter(|rest| !rest.is_empty()).map(|rest| format!("{time:.3} {}", text(rest)));
            said.splice(0..0, rest.collect::<Vec<_>>());
        }
        if !said.is_empty() && self.last != number {
            lines.push(String::new());
            self.last = number;
        }
        lines.extend(said.into_iter().map(|said| format!("#{number} {said}")));
        lines
    }
}

/// A line that a command wrote, without its end.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned()
}

impl Show for Plain {
    fn event(&mut self, event: &Event) {
        self.lines(event).iter().for_each(|line| output::note(line));
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::tests::{event, log, moved};
    use super::*;

    #[test]
    fn each_line_has_the_number_of_its_vertex() {
        let mut plain = Plain::default();
        let mut lines = Vec::new();
        for each in [
            event("image", 0, What::Started),
            event("image", 100, What::Completed),
            event("make", 100, What::Started),
            event("make", 600, log("one\ntwo")),
            event("image", 700, moved(0, false)),
            event("image", 800, moved(1024, false)),
            event("make", 900, log(" more\nlast")),
            event("make", 1000, What::Completed),
            event("copy", 1000, What::Cached),
        ] {
            lines.extend(plain.lines(&each));
        }
        let expected = [
            "#1 image",
            "#1 DONE 0.1s",
            "",
            "#2 make",
            "#2 0.500 one",
            "",
            "#1 sha256:abababababab downloading 2.00 KiB",
            "",
            "#2 0.800 two more",
            "#2 0.900 last",
            "#2 DONE 0.9s",
            "",
            "#3 copy",
            "#3 CACHED",
        ];
        assert_eq!(lines, expected);
    }

    /// What has no end is not kept for ever, and nothing of it is left out.
    #[test]
    fn a_line_without_end_is_shown_in_parts() {
        let mut plain = Plain::default();
        plain.lines(&event("make", 0, What::Started));
        let mut lines = Vec::new();
        for _ in 0..5 {
            lines.extend(plain.lines(&event("make", 500, log(&"x".repeat(LONGEST / 2 - 1)))));
            assert!(plain.open.values().all(|open| open.len() < LONGEST && open.capacity() <= 2 * LONGEST));
        }
        lines.extend(plain.lines(&event("make", 600, log("yy\nz"))));
        lines.extend(plain.lines(&event("make", 1000, What::Completed)));
        let shown = |line: &String| line.split(' ').next_back().unwrap_or_default().to_owned();
        let shown: Vec<String> = lines.iter().map(shown).collect();
        assert_eq!(
            shown.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST, LONGEST, LONGEST / 2 - 3, 1, 4]
        );
        assert!(shown[2].ends_with("xyy") && shown[3] == "z", "{lines:?}");
    }
}
