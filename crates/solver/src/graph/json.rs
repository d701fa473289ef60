//! A view of a graph as JSON.

use std::fmt::{self, Display, Write as _};
use std::time::{Duration, SystemTime};

use crate::graph::view::{GraphView, OutputView, Port, VertexView};

impl GraphView {
    /// The graph as JSON, without white space, all fields always there and in this order:
    ///
    /// ```text
    /// {"vertices": [{
    ///   "digest": text, "name": text, "kind": text, "ignores_cache": bool,
    ///   "inputs": [{"vertex": place in "vertices", "output": number}],
    ///   "within": place in "vertices" or null,
    ///   "state": text (VertexState::as_str), "lost": number,
    ///   "outputs": [{"output": number, "known": text (Known::as_str), "keys": [text],
    ///                "merged": {"vertex": place, "output": number} or null}],
    ///   "started_us": number or null, "ended_us": number or null, "preparing_us": number,
    ///   "error": text or null
    /// }]}
    /// ```
    ///
    /// Times are microseconds since 1970, durations microseconds. Fields may be added at the end of their objects.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Json { text: String::new(), first: true };
        // Writing into a string does not fail.
        let _ = self.write_json(&mut json);
        json.text
    }

    fn write_json(&self, json: &mut Json) -> fmt::Result {
        json.open('{');
        json.name("vertices");
        json.open('[');
        for vertex in &self.vertices {
            json.comma();
            write_vertex(vertex, json)?;
        }
        json.close(']');
        json.close('}');
        Ok(())
    }
}

fn write_vertex(vertex: &VertexView, json: &mut Json) -> fmt::Result {
    json.open('{');
    json.field("digest", |json| json.string(vertex.name.digest.as_ref()))?;
    json.field("name", |json| json.string(&vertex.name.name))?;
    json.field("kind", |json| json.string(&vertex.kind))?;
    json.field("ignores_cache", |json| json.plain(vertex.ignores_cache))?;
    json.name("inputs");
    json.open('[');
    for input in &vertex.inputs {
        json.comma();
        write_port(*input, json)?;
    }
    json.close(']');
    json.field("within", |json| json.option(vertex.within))?;
    json.field("state", |json| json.string(vertex.state.as_str()))?;
    json.field("lost", |json| json.plain(vertex.lost))?;
    json.name("outputs");
    json.open('[');
    for output in &vertex.outputs {
        json.comma();
        write_output(output, json)?;
    }
    json.close(']');
    json.field("started_us", |json| json.option(vertex.started.map(since_epoch)))?;
    json.field("ended_us", |json| json.option(vertex.ended.map(since_epoch)))?;
    json.field("preparing_us", |json| json.plain(vertex.preparing.as_micros()))?;
    json.field("error", |json| match &vertex.error {
        Some(error) => json.string(error),
        None => json.plain("null"),
    })?;
    json.close('}');
    Ok(())
}

fn write_output(output: &OutputView, json: &mut Json) -> fmt::Result {
    json.open('{');
    json.field("output", |json| json.plain(output.output))?;
    json.field("known", |json| json.string(output.known.as_str()))?;
    json.name("keys");
    json.open('[');
    for key in &output.keys {
        json.comma();
        json.string(&key.to_string())?;
    }
    json.close(']');
    json.field("merged", |json| match output.merged {
        Some(port) => write_port(port, json),
        None => json.plain("null"),
    })?;
    json.close('}');
    Ok(())
}

fn write_port(port: Port, json: &mut Json) -> fmt::Result {
    json.open('{');
    json.field("vertex", |json| json.plain(port.vertex))?;
    json.field("output", |json| json.plain(port.output))?;
    json.close('}');
    Ok(())
}

/// What was before 1970 is taken for 1970.
fn since_epoch(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros()
}

/// A text in the making: what a library for this would be used for is commas and one kind of quotes.
struct Json {
    text: String,
    /// Whether nothing was written yet to what was opened last.
    first: bool,
}

impl Json {
    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.first = true;
    }

    fn close(&mut self, bracket: char) {
        self.text.push(bracket);
        self.first = false;
    }

    /// Begins one more element.
    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.text.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    fn field(&mut self, name: &str, value: impl FnOnce(&mut Self) -> fmt::Result) -> fmt::Result {
        self.name(name);
        value(self)
    }

    /// What needs no quotes.
    fn plain(&mut self, value: impl Display) -> fmt::Result {
        write!(self.text, "{value}")
    }

    fn option(&mut self, value: Option<impl Display>) -> fmt::Result {
        match value {
            Some(value) => self.plain(value),
            None => self.plain("null"),
        }
    }

    fn string(&mut self, value: &str) -> fmt::Result {
        self.text.push('"');
        for letter in value.chars() {
            match letter {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                letter if u32::from(letter) < 0x20 => write!(self.text, "\\u{:04x}", u32::from(letter))?,
                letter => self.text.push(letter),
            }
        }
        self.text.push('"');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::GraphView;
    use crate::graph::view::example;

    const WAITS: &str = r#""started_us":null,"ended_us":null,"preparing_us":0,"error":null}"#;

    fn vertex(digit: char, rest: &str) -> String {
        let rest = rest.replace("WAITS", WAITS);
        format!("{{\"digest\":\"sha256:{}{digit}\",{rest}", "0".repeat(63))
    }

    #[test]
    fn each_state_is_written_and_names_stay_what_they_are() {
        let mut vertices = vec![
            vertex(
                '1',
                r#""name":"plain","kind":"op","ignores_cache":false,"inputs":[],"within":null,"state":"waiting","lost":0,"outputs":[],WAITS"#,
            ),
            vertex(
                '2',
                r#""name":"with \"quotes\" and \\N","kind":"op","ignores_cache":false,"inputs":[{"vertex":0,"output":0}],"within":null,"state":"blocked","lost":0,"outputs":[],WAITS"#,
            ),
            vertex(
                '3',
                r#""name":"two\nlines\tand a tab\u0001","kind":"op","ignores_cache":false,"inputs":[{"vertex":0,"output":3}],"within":null,"state":"lost","lost":2,"outputs":[],WAITS"#,
            ),
            vertex(
                '4',
                r#""name":"ein Löffel 🥄","kind":"op","ignores_cache":false,"inputs":[{"vertex":1,"output":0},{"vertex":2,"output":1}],"within":null,"state":"cached","lost":0,"outputs":[{"output":0,"known":"content","keys":["sha256:00000000000000000000000000000000000000000000000000000000000000ff"],"merged":null}],WAITS"#,
            ),
            vertex(
                '5',
                r#""name":"","kind":"op","ignores_cache":true,"inputs":[],"within":null,"state":"completed","lost":1,"outputs":[],"started_us":1000000,"ended_us":3004567,"preparing_us":20000,"error":null}"#,
            ),
        ];
        for (digit, name, state) in [
            ('6', "m", "mapping"),
            ('7', "q", "queued"),
            ('8', "l", "loading"),
            ('9', "s", "saving"),
            ('a', "p", "preparing"),
        ] {
            vertices.push(vertex(digit, &format!(r#""name":"{name}","kind":"op","ignores_cache":false,"inputs":[],"within":null,"state":"{state}","lost":0,"outputs":[],WAITS"#)));
        }
        vertices.extend([
            vertex('b', r#""name":"r","kind":"op","ignores_cache":false,"inputs":[],"within":4,"state":"running","lost":0,"outputs":[],"started_us":5,"ended_us":null,"preparing_us":0,"error":null}"#),
            vertex('c', r#""name":"=","kind":"op","ignores_cache":false,"inputs":[],"within":null,"state":"merged","lost":0,"outputs":[{"output":0,"known":"nothing","keys":[],"merged":{"vertex":4,"output":0}},{"output":1,"known":"definition","keys":[],"merged":{"vertex":10,"output":2}},{"output":2,"known":"result","keys":[],"merged":null}],WAITS"#),
            vertex('d', r#""name":"f","kind":"op","ignores_cache":false,"inputs":[],"within":null,"state":"failed","lost":0,"outputs":[],"started_us":null,"ended_us":null,"preparing_us":0,"error":"it said \"no\"\nand left"}"#),
        ]);
        let expected = format!("{{\"vertices\":[{}]}}", vertices.join(","));
        assert_eq!(example().to_json(), expected);
        assert_eq!(GraphView::default().to_json(), r#"{"vertices":[]}"#);
    }

    #[test]
    fn others_read_it() {
        let read: serde_json::Value = serde_json::from_str(&example().to_json()).unwrap();
        assert_eq!(read["vertices"][2]["name"], "two\nlines\tand a tab\u{1}");
        assert_eq!(read["vertices"][12]["error"], "it said \"no\"\nand left");
    }
}
