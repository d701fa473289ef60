//! What a vertex must be like so that nobody after this has to look again.

mod exec;
mod file;
mod graft;

use std::collections::HashSet;

use super::{Fault, Op, limits, paths};

/// Holds an op with this many inputs against the rules and counts its outputs.
pub(super) fn outputs(op: &Op, inputs: usize) -> Result<usize, Fault> {
    match op {
        Op::Source { .. } if inputs > 0 => Err(index("source with input", 0, 0)),
        Op::Source { .. } => Ok(1),
        Op::Exec(exec) => exec::outputs(exec, inputs),
        Op::File(file) => file::outputs(file, inputs),
        Op::Merge(merge) => graft::merge(merge, inputs),
        Op::Diff(diff) => graft::diff(diff, inputs),
        // They are refused before anybody asks for an output; how many there are is not known.
        Op::Build | Op::Passthrough => Ok(usize::MAX),
    }
}

fn index(what: &'static str, index: i64, count: usize) -> Fault {
    Fault::Index { what, index, count }
}

/// Whether a number names one of `count` things or, being -1, none.
fn number(what: &'static str, value: i64, count: usize) -> Result<Option<usize>, Fault> {
    match usize::try_from(value) {
        Ok(at) if at < count => Ok(Some(at)),
        Err(_) if value == -1 => Ok(None),
        _ => Err(index(what, value, count)),
    }
}

/// Whether the outputs are 0, 1, 2 …, in any order, each once; -1 is none.
fn count_outputs(outputs: impl Iterator<Item = i64>) -> Result<usize, Fault> {
    let mut seen = HashSet::new();
    for output in outputs.filter(|output| *output != -1) {
        if !seen.insert(output) {
            return Err(Fault::DuplicateOutput(output));
        }
    }
    let outside = seen
        .iter()
        .copied()
        .filter(|output| usize::try_from(*output).map_or(true, |at| at >= seen.len()))
        .min();
    outside.map_or(Ok(seen.len()), |outside| Err(index("output", outside, seen.len())))
}

fn path(what: &'static str, path: &str) -> Result<(), Fault> {
    let reason = if path.contains('\0') {
        "a path with a NUL in it"
    } else if path.len() > limits::PATH_BYTES {
        "a path longer than 4096 bytes"
    } else if paths::escapes(path) {
        return Err(Fault::Escapes { what, path: path.to_owned() });
    } else {
        return Ok(());
    };
    Err(Fault::Path { what, reason })
}

fn known<T: TryFrom<i32>>(what: &'static str, value: i32) -> Result<T, Fault> {
    T::try_from(value).map_err(|_| Fault::UnknownValue { what, value: i64::from(value) })
}
