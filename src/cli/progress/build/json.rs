//! One JSON object a line, for programs.

use std::collections::HashSet;
use std::time::UNIX_EPOCH;

use lazyblob::remote::Digest;
use lazyblob::solver::{Event, What};
use serde_json::{Value, json};

use super::Show;
use crate::cli::output;

/// Tells each event; of a vertex that comes up, first its name.
#[derive(Default)]
pub(super) struct Lines(HashSet<Digest>);

impl Lines {
    fn lines(&mut self, event: &Event) -> Vec<Value> {
        let mut lines = Vec::new();
        if let Some(vertex) = &event.vertex
            && self.0.insert(vertex.digest.clone())
        {
            lines.push(
                json!({"type": "vertex", "vertex": vertex.digest, "name": &*vertex.name, "state": "known"}),
            );
        }
        let state = |state: &str| json!({"type": "vertex", "state": state});
        let mut line = match &event.what {
            What::Started => state("started"),
            What::Stopped => state("stopped"),
            What::Cached => state("cached"),
            What::Preparing => state("preparing"),
            What::Prepared => state("prepared"),
            What::Completed => state("completed"),
            What::Failed(error) => json!({"type": "vertex", "state": "failed", "error": error.to_string()}),
            What::Lost(cause) => json!({"type": "vertex", "state": "lost", "cause": cause}),
            What::Progress(part) => json!({
                "type": "progress", "id": &*part.id, "action": &*part.action, "current": part.current,
                "total": part.total, "done": part.done,
            }),
            What::Log(log) => json!({
                "type": "log", "stream": log.stream, "data": String::from_utf8_lossy(&log.data),
            }),
            What::Dropped { bytes } => json!({"type": "dropped", "bytes": bytes}),
            What::Warning(warning) => json!({"type": "warning", "message": warning}),
            _ => return lines,
        };
        if let Some(vertex) = &event.vertex {
            line["vertex"] = json!(vertex.digest);
        }
        let at = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        line["at_ms"] = json!(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        lines.push(line);
        lines
    }
}

impl Show for Lines {
    fn event(&mut self, event: &Event) {
        self.lines(event).iter().for_each(|line| output::note(&line.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::tests::{event, log};
    use super::*;

    #[test]
    fn a_vertex_is_named_once() {
        let mut lines = Lines::default();
        let mut told = lines.lines(&event("make", 5, What::Started));
        told.extend(lines.lines(&event("make", 6, log("hi\n"))));
        told.extend(lines.lines(&event("make", 7, What::Completed)));
        let kinds: Vec<_> = told.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["vertex", "vertex", "log", "vertex"]);
        assert_eq!((&told[0]["name"], &told[1]["state"]), (&json!("make"), &json!("started")));
        assert_eq!(
            (&told[2]["data"], &told[2]["stream"], &told[2]["at_ms"]),
            (&json!("hi\n"), &json!(1), &json!(6))
        );
        assert!(told.iter().all(|line| line["vertex"] == told[0]["vertex"]));
    }
}
