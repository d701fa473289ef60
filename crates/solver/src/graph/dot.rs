//! A view of a graph in the language of Graphviz.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::graph::view::{GraphView, Port, VertexState, VertexView};

/// How much of a name is drawn, in characters.
const NAME: usize = 80;

impl GraphView {
    /// The graph in Graphviz' language: a node for each vertex, with its state, how long it took and, as a tooltip, its
    /// digest and error; an arrow from each input to the vertex that has it, with the output where that is not the first and
    /// the position where there are several. Dashed arrows lead from what was merged to what stands for it, dotted ones from
    /// what was built within a vertex to that.
    ///
    /// Nodes are named by their place; the same view makes the same text.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.write_dot(&mut text);
        text
    }

    fn write_dot(&self, to: &mut String) -> fmt::Result {
        to.push_str(
            "digraph build {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=\"sans-serif\"];\n",
        );
        for (at, vertex) in self.vertices.iter().enumerate() {
            write!(to, "  v{at} [label=\"")?;
            escape(shortened(&vertex.name.name), to);
            to.push_str("\\n");
            label(vertex, to)?;
            write!(to, "\", fillcolor=\"{}\", tooltip=\"", color(vertex.state))?;
            escape(vertex.name.digest.as_ref(), to);
            if let Some(error) = &vertex.error {
                to.push_str("\\n");
                escape(error, to);
            }
            to.push_str("\"];\n");
        }
        for (at, vertex) in self.vertices.iter().enumerate() {
            for (input, port) in vertex.inputs.iter().enumerate() {
                write!(to, "  v{} -> v{at}", port.vertex)?;
                match (port.output, vertex.inputs.len()) {
                    (0, 1) => {}
                    (0, _) => write!(to, " [label=\"{input}\"]")?,
                    (output, 1) => write!(to, " [label=\"[{output}]\"]")?,
                    (output, _) => write!(to, " [label=\"[{output}] {input}\"]")?,
                }
                to.push_str(";\n");
            }
            for output in &vertex.outputs {
                if let Some(Port { vertex: into, output: of }) = output.merged {
                    write!(to, "  v{at} -> v{into} [style=dashed, label=\"is\"")?;
                    if (output.output, of) != (0, 0) {
                        write!(to, ", taillabel=\"[{}]\", headlabel=\"[{of}]\"", output.output)?;
                    }
                    to.push_str("];\n");
                }
            }
            if let Some(within) = vertex.within {
                writeln!(to, "  v{at} -> v{within} [style=dotted, label=\"within\"];")?;
            }
        }
        to.push_str("}\n");
        Ok(())
    }
}

/// The second line of a node.
fn label(vertex: &VertexView, to: &mut String) -> fmt::Result {
    to.push_str(vertex.state.as_str());
    if let Some(took) = vertex.took() {
        write!(to, " {}", seconds(took))?;
    }
    if !vertex.preparing.is_zero() {
        write!(to, ", prepared {}", seconds(vertex.preparing))?;
    }
    match vertex.lost {
        0 => Ok(()),
        1 => write!(to, ", lost once"),
        times => write!(to, ", lost {times} times"),
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> String {
    format!("{}.{:03} s", duration.as_secs(), duration.subsec_millis())
}

fn shortened(name: &str) -> &str {
    name.char_indices().nth(NAME).map_or(name, |(at, _)| &name[..at])
}

fn color(state: VertexState) -> &'static str {
    match state {
        VertexState::Waiting => "white",
        VertexState::Blocked => "mistyrose",
        VertexState::Lost => "orange",
        VertexState::Cached => "lightblue",
        VertexState::Completed => "palegreen",
        VertexState::Mapping | VertexState::Queued => "lightgrey",
        VertexState::Loading | VertexState::Saving => "paleturquoise",
        VertexState::Preparing => "khaki",
        VertexState::Running => "gold",
        VertexState::Merged => "lavender",
        VertexState::Failed => "tomato",
    }
}

/// Text within quotes. A backslash of its own is doubled: Graphviz reads `\N` and the like as names of something else.
fn escape(text: &str, to: &mut String) {
    for letter in text.chars() {
        match letter {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            // Graphviz takes these for the end of the text, or for nothing.
            letter if letter.is_control() => to.push(' '),
            letter => to.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::view::example;

    #[test]
    fn each_state_is_drawn_and_names_stay_what_they_are() {
        let zeros = "0".repeat(63);
        let expected = r#"digraph build {
  rankdir=LR;
  node [shape=box, style=filled, fontname="sans-serif"];
  v0 [label="plain\nwaiting", fillcolor="white", tooltip="sha256:ZEROS1"];
  v1 [label="with \"quotes\" and \\N\nblocked", fillcolor="mistyrose", tooltip="sha256:ZEROS2"];
  v2 [label="two\nlines and a tab \nlost, lost 2 times", fillcolor="orange", tooltip="sha256:ZEROS3"];
  v3 [label="ein Löffel 🥄\ncached", fillcolor="lightblue", tooltip="sha256:ZEROS4"];
  v4 [label="\ncompleted 2.004 s, prepared 0.020 s, lost once", fillcolor="palegreen", tooltip="sha256:ZEROS5"];
  v5 [label="m\nmapping", fillcolor="lightgrey", tooltip="sha256:ZEROS6"];
  v6 [label="q\nqueued", fillcolor="lightgrey", tooltip="sha256:ZEROS7"];
  v7 [label="l\nloading", fillcolor="paleturquoise", tooltip="sha256:ZEROS8"];
  v8 [label="s\nsaving", fillcolor="paleturquoise", tooltip="sha256:ZEROS9"];
  v9 [label="p\npreparing", fillcolor="khaki", tooltip="sha256:ZEROSa"];
  v10 [label="r\nrunning", fillcolor="gold", tooltip="sha256:ZEROSb"];
  v11 [label="=\nmerged", fillcolor="lavender", tooltip="sha256:ZEROSc"];
  v12 [label="f\nfailed", fillcolor="tomato", tooltip="sha256:ZEROSd\nit said \"no\"\nand left"];
  v0 -> v1;
  v0 -> v2 [label="[3]"];
  v1 -> v3 [label="0"];
  v2 -> v3 [label="[1] 1"];
  v10 -> v4 [style=dotted, label="within"];
  v11 -> v4 [style=dashed, label="is"];
  v11 -> v10 [style=dashed, label="is", taillabel="[1]", headlabel="[2]"];
}
"#;
        assert_eq!(example().to_dot(), expected.replace("ZEROS", &zeros));
    }

    #[test]
    fn long_names_are_cut_between_letters() {
        let mut view = example();
        view.vertices.truncate(1);
        let name = std::sync::Arc::make_mut(&mut view.vertices[0].name);
        name.name = "ö".repeat(81).into();
        let label = format!("label=\"{}\\nwaiting\"", "ö".repeat(80));
        assert!(view.to_dot().contains(&label), "{}", view.to_dot());
    }
}
