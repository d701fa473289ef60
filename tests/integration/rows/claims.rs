//! What tests and files say of themselves: which rows they prove, which types they declare.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::row::Row;
use crate::architecture::sources;

/// Tests as `FILE::NAME`, with the rows they claim.
pub(super) type Claims = Vec<(String, Vec<Row>)>;

/// The tests of a file with the rows they say they prove, where `word` begins such a claim: nothing where they say nothing
/// of the kind, and no row where what they say is malformed.
pub(super) fn tests_of<'a>(text: &'a str, word: &str) -> BTreeMap<&'a str, Option<Vec<Row>>> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut tests = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") else { continue };
        let above =
            lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let above: Vec<&str> = above.copied().collect();
        if above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            let mut paragraphs = above.iter().rev().filter_map(|line| line.strip_prefix("/// "));
            let said = paragraphs.find_map(|line| rows_said(line, word));
            tests.insert(name.split(['(', '<']).next().unwrap_or(name), said);
        }
    }
    tests
}

/// The rows of `Row 3: …` and `Rows 3, 4b: …`, where `word` is `Row`.
pub(super) fn rows_said(line: &str, word: &str) -> Option<Vec<Row>> {
    let list = line.strip_prefix(word)?;
    let list = list.strip_prefix("s ").or_else(|| list.strip_prefix(' '))?;
    let list = list.split_once(": ").map_or("", |(list, _)| list);
    Some(list.split(", ").map(Row::parse).collect::<Option<Vec<_>>>().unwrap_or_default())
}

/// Every test of the repository that says, with `word`, which rows it proves, or tries to.
pub(super) fn claims(root: &Path, word: &str) -> Claims {
    let files = ["crates", "src", "tests"].map(|directory| sources(&root.join(directory)));
    let mut claims = Vec::new();
    for path in files.into_iter().flatten() {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let tests =
            tests_of(&text, word).into_iter().filter_map(|(name, rows)| rows.map(|rows| (name, rows)));
        claims.extend(tests.map(|(name, rows)| (format!("{file}::{name}"), rows)));
    }
    claims.sort();
    claims
}

/// Whether a file has a type of this name.
pub(super) fn declares(text: &str, name: &str) -> bool {
    let starts = |line: &str| {
        let line = line.trim_start();
        let line =
            line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or("", |(_, rest)| rest));
        let kinds = ["struct ", "enum ", "trait ", "type "];
        kinds.iter().filter_map(|kind| line.strip_prefix(kind)).any(|rest| {
            rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })
    };
    text.lines().any(starts)
}
