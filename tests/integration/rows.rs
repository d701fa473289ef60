//! `docs/transfers.md`: every row is there once, and the tests it names exist and say that they prove it.
//!
//! A test says so in the first line of its comment: `/// Row 3: …`, `/// Rows 3, 4b: …`. With `LAZYBLOB_ROWS=write` in the
//! environment these tests write such tests into the table instead of complaining.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::architecture::{root, sources};

/// All rows there are.
const ROWS: RangeInclusive<u8> = 1..=99;

/// Rows that need a proof; the others may be left to a later part of the project.
const REQUIRED: [RangeInclusive<u8>; 8] =
    [1..=33, 35..=40, 46..=58, 60..=61, 64..=68, 73..=74, 89..=92, 98..=98];

/// Parts of those that speak of several ranges of one blob at a time, which are later.
const NOT_REQUIRED: [(u8, char); 2] = [(64, 'b'), (65, 'b')];

/// The parts of the project that are to bring the rest.
const LATER: [&str; 3] = ["issue 4, the cache manager", "large blobs and jobs", "issue 6, the build engine"];

/// A row, or one of its parts: `26`, `26a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    number: u8,
    part: Option<char>,
}

impl Row {
    fn parse(text: &str) -> Option<Self> {
        let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let part = text.strip_prefix(number)?.chars().next();
        let row = Self { number: number.parse().ok()?, part };
        (row.to_string() == text).then_some(row)
    }

    /// Whether a test that says it proves `self` proves `other`.
    fn covers(self, other: Self) -> bool {
        self.number == other.number && (self.part.is_none() || self.part == other.part)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.part.map_or(Ok(()), |part| write!(f, "{part}"))
    }
}

/// What a row says of its proof.
#[derive(Debug, Default, PartialEq, Eq)]
struct Proof {
    /// `FILE::NAME`.
    tests: Vec<(String, String)>,
    /// The same of types.
    types: Vec<(String, String)>,
    later: Option<String>,
    pending: bool,
}

impl Proof {
    /// Reads `` `FILE::TEST`<br>`FILE::TEST`; types: `FILE::TYPE`, why; later: issue 4, the cache manager ``, of which each part
    /// may be missing, or `pending`.
    fn parse(cell: &str) -> Result<Self, String> {
        let mut proof = Self::default();
        for clause in cell.split("; ") {
            if clause == "pending" {
                proof.pending = true;
            } else if let Some(part) = clause.strip_prefix("later: ") {
                proof.later = Some(part.to_owned());
            } else if let Some(types) = clause.strip_prefix("types: ") {
                let (quoted, why) = quoted(types);
                if why.is_empty() || quoted.is_empty() {
                    return Err(format!("`{clause}` does not say which type, or why"));
                }
                proof.types.extend(quoted.iter().map(|text| in_file(text)).collect::<Result<Vec<_>, _>>()?);
            } else {
                let (quoted, rest) = quoted(clause);
                if !rest.is_empty() || quoted.is_empty() {
                    return Err(format!("`{clause}` is none of tests, types, later, pending"));
                }
                proof.tests.extend(quoted.iter().map(|text| in_file(text)).collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(proof)
    }
}

/// What stands between back quotes, and the words beside it.
fn quoted(text: &str) -> (Vec<&str>, String) {
    let (mut inside, mut outside) = (Vec::new(), String::new());
    for (nth, part) in text.split('`').enumerate() {
        if nth % 2 == 1 { inside.push(part) } else { outside.push_str(part) }
    }
    (inside, outside.replace("<br>", "").replace(',', "").trim().to_owned())
}

fn in_file(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once("::").filter(|(file, _)| file.ends_with(".rs"));
    parts.map(|(file, name)| (file.to_owned(), name.to_owned())).ok_or(format!("`{text}` is not FILE::NAME"))
}

/// The tests of a file with the rows they say they prove: nothing where they say nothing of the kind, and no row where
/// what they say is malformed.
fn tests_of(text: &str) -> BTreeMap<&str, Option<Vec<Row>>> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut tests = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") else { continue };
        let above =
            lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let above: Vec<&str> = above.copied().collect();
        if above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            let first = above.iter().rev().find_map(|line| line.strip_prefix("/// "));
            tests.insert(name.split(['(', '<']).next().unwrap_or(name), first.and_then(rows_said));
        }
    }
    tests
}

/// The rows of `Row 3: …` and `Rows 3, 4b: …`.
fn rows_said(line: &str) -> Option<Vec<Row>> {
    let list = line.strip_prefix("Rows ").or_else(|| line.strip_prefix("Row "))?;
    let list = list.split_once(": ").map_or("", |(list, _)| list);
    Some(list.split(", ").map(Row::parse).collect::<Option<Vec<_>>>().unwrap_or_default())
}

fn declares(text: &str, name: &str) -> bool {
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

/// The rows of the document in their order, and what is wrong with how it is written.
fn table(document: &str) -> (Vec<(Row, Proof)>, Vec<String>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for line in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| row |")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let row = cells.first().and_then(|cell| Row::parse(cell.trim_end_matches(" ★")));
        match (row, &cells[..]) {
            (Some(row), [_, _, proof]) => match Proof::parse(proof) {
                Ok(proof) => rows.push((row, proof)),
                Err(error) => wrong.push(format!("row {row}: {error}")),
            },
            _ => wrong.push(format!("`{line}` is no row")),
        }
    }
    (rows, wrong)
}

/// Everything that is wrong with `document`, whose files `read` reads.
fn complaints(document: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let (rows, mut wrong) = table(document);
    let listed: Vec<Row> = rows.iter().map(|(row, _)| *row).collect();
    let expected = |number: u8| {
        let parts: Vec<_> = listed.iter().filter(|row| row.number == number).map(|row| row.part).collect();
        let lettered = ('a'..='z').take(parts.len()).map(Some);
        parts == [None] || parts.len() > 1 && parts.iter().copied().eq(lettered)
    };
    wrong.extend(
        ROWS.filter(|number| !expected(*number)).map(|number| format!("row {number} is not there once")),
    );
    if !listed.is_sorted() || listed.iter().any(|row| !ROWS.contains(&row.number)) {
        wrong.push("the rows are not in order".to_owned());
    }
    for (row, proof) in &rows {
        wrong.extend(unproven(*row, proof, &read).into_iter().map(|why| format!("row {row}: {why}")));
    }
    wrong
}

/// What is wrong with the proof of one row.
fn unproven(row: Row, proof: &Proof, read: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, name) in &proof.tests {
        let text = read(file).unwrap_or_default();
        match tests_of(&text).get(name.as_str()) {
            None => wrong.push(format!("there is no test `{name}` in {file}")),
            Some(rows) if !rows.iter().flatten().any(|said| said.covers(row)) => {
                wrong.push(format!("`{name}` in {file} does not say that it proves it"));
            }
            Some(_) => {}
        }
    }
    let absent =
        proof.types.iter().filter(|(file, name)| !read(file).is_some_and(|text| declares(&text, name)));
    wrong.extend(absent.map(|(file, name)| format!("there is no type `{name}` in {file}")));
    wrong.extend(
        proof
            .later
            .iter()
            .filter(|part| !LATER.contains(&part.as_str()))
            .map(|part| format!("nobody is `{part}`")),
    );
    let proven = !proof.tests.is_empty() || !proof.types.is_empty();
    let required = REQUIRED.iter().any(|rows| rows.contains(&row.number))
        && !NOT_REQUIRED.iter().any(|(number, part)| row == Row { number: *number, part: Some(*part) });
    if !proven && !proof.pending && required {
        wrong.push("it needs a test or a type".to_owned());
    }
    if proof.pending {
        wrong.push("it is pending".to_owned());
    }
    wrong
}

fn document() -> String {
    fs::read_to_string(root().join("docs/transfers.md")).unwrap()
}

fn writes() -> bool {
    std::env::var("LAZYBLOB_ROWS").is_ok_and(|mode| mode == "write")
}

#[test]
fn every_row_has_its_proof() {
    if writes() {
        return;
    }
    let read = |file: &str| fs::read_to_string(root().join(file)).ok();
    let wrong = complaints(&document(), read);
    assert!(wrong.is_empty(), "docs/transfers.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_test_that_claims_a_row_is_listed_with_it() {
    let claims = claims(root());
    let written = filled(&document(), &claims);
    if writes() {
        fs::write(root().join("docs/transfers.md"), written).unwrap();
        return;
    }
    let (rows, _) = table(&document());
    let known = |said: &Row| rows.iter().any(|(row, _)| said.covers(*row));
    let strange = claims.iter().filter(|(_, said)| said.is_empty() || !said.iter().all(known));
    let strange: Vec<_> = strange.map(|(test, _)| test).collect();
    assert!(strange.is_empty(), "these tests name rows that are not in docs/transfers.md: {strange:#?}");
    let missing = written.lines().filter(|line| !document().contains(line)).count();
    assert_eq!(missing, 0, "rows of docs/transfers.md lack tests; LAZYBLOB_ROWS=write adds them");
}

/// The document with the tests of each row as `claims` has them.
fn filled(document: &str, claims: &[(String, Vec<Row>)]) -> String {
    let fill = |line: &str| {
        let (cells, proof) = line.strip_suffix(" |")?.rsplit_once("| ")?;
        let row = Row::parse(cells.strip_prefix("| ")?.split([' ', '|']).next()?)?;
        let claiming = claims.iter().filter(|(_, said)| said.iter().any(|said| said.covers(row)));
        let tests: Vec<String> = claiming.map(|(test, _)| format!("`{test}`")).collect();
        let stays = |clause: &&str| clause.starts_with("types: ") || clause.starts_with("later: ");
        let clauses = [tests.join("<br>")].into_iter().filter(|tests| !tests.is_empty());
        let clauses: Vec<String> =
            clauses.chain(proof.split("; ").filter(stays).map(str::to_owned)).collect();
        let proof = if clauses.is_empty() { "pending".to_owned() } else { clauses.join("; ") };
        Some(format!("{cells}| {proof} |"))
    };
    let lines: Vec<String> =
        document.lines().map(|line| fill(line).unwrap_or_else(|| line.to_owned())).collect();
    lines.join("\n") + "\n"
}

/// Every test of the repository that says which rows it proves, or tries to.
fn claims(root: &Path) -> Vec<(String, Vec<Row>)> {
    let files = ["crates", "src", "tests"].map(|directory| sources(&root.join(directory)));
    let mut claims = Vec::new();
    for path in files.into_iter().flatten() {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let tests = tests_of(&text).into_iter().filter_map(|(name, rows)| rows.map(|rows| (name, rows)));
        claims.extend(tests.map(|(name, rows)| (format!("{file}::{name}"), rows)));
    }
    claims.sort();
    claims
}

const TESTS: &str = "/// Rows 1, 2b: both.\n#[test]\nfn both() {}\n#[tokio::test(start_paused = true)]\nasync fn nothing() {}\n\
                     /// Row 3: no test.\nfn helper() {}\npub(crate) struct Kind<T>(T);\n";

fn complaints_about(rows: &[(&str, &str)]) -> Vec<String> {
    let mut lines: BTreeMap<Row, String> = ROWS
        .map(|number| Row { number, part: None })
        .map(|row| {
            (row, format!("| {row} | x | later: issue 6, the build engine; types: `a.rs::Kind` says so |"))
        })
        .collect();
    for (row, proof) in rows {
        let row = Row::parse(row).unwrap();
        if row.part == Some('a') {
            lines.remove(&Row { part: None, ..row });
        }
        lines.insert(row, format!("| {row} ★ | x | {proof} |"));
    }
    let document: Vec<String> = lines.into_values().filter(|line| !line.contains("| gone |")).collect();
    let read = |file: &str| (file == "a.rs").then(|| TESTS.to_owned());
    complaints(&format!("| row | seen | proof |\n|---|---|---|\n{}", document.join("\n")), read)
}

#[test]
fn a_table_without_fault_is_not_complained_of() {
    assert_eq!(complaints_about(&[]), <[&str; 0]>::default());
    let whole =
        [("1", "`a.rs::both`"), ("2a", "types: `a.rs::Kind`, why"), ("2b", "`a.rs::both`, `a.rs::both`")];
    assert_eq!(complaints_about(&whole), <[&str; 0]>::default());
    assert_eq!(complaints_about(&[("99", "later: issue 4, the cache manager")]), <[&str; 0]>::default());
}

#[test]
fn every_fault_of_a_table_is_found() {
    for (rows, complaint) in [
        (&[("7", "gone")][..], "row 7 is not there once"),
        (&[("7a", "`a.rs::both`")], "row 7 is not there once"),
        (&[("1", "`a.rs::both`"), ("1b", "`a.rs::both`")], "row 1 is not there once"),
        (&[("100", "later: issue 6, the build engine")], "not in order"),
        (&[("1", "`b.rs::both`")], "row 1: there is no test `both` in b.rs"),
        (&[("1", "`a.rs::helper`")], "no test `helper`"),
        (&[("1", "`a.rs::nothing`")], "`nothing` in a.rs does not say"),
        (&[("4", "`a.rs::both`")], "row 4: `both` in a.rs does not say"),
        (&[("2a", "`a.rs::both`"), ("2b", "`a.rs::both`")], "row 2a: `both` in a.rs does not say"),
        (&[("1", "`both`")], "`both` is not FILE::NAME"),
        (&[("1", "some words")], "`some words` is none of"),
        (&[("1", "types: `a.rs::Kin` says so")], "no type `Kin` in a.rs"),
        (&[("1", "types: `a.rs::Kind`")], "or why"),
        (&[("1", "later: issue 6, the build engine")], "row 1: it needs a test or a type"),
        (&[("99", "later: somebody")], "nobody is `somebody`"),
        (&[("99", "pending")], "row 99: it is pending"),
    ] {
        let wrong = complaints_about(rows);
        assert!(wrong.iter().any(|line| line.contains(complaint)), "{complaint}: {wrong:?}");
    }
}

#[test]
fn tests_are_written_into_their_rows() {
    let claims = vec![
        ("a.rs::both".to_owned(), vec![Row { number: 1, part: None }, Row { number: 2, part: Some('b') }]),
        ("b.rs::other".to_owned(), vec![Row { number: 1, part: Some('a') }]),
    ];
    let before = "# Title\n\n| row | seen |\n| 1a | x | pending |\n| 1b ★ | y | `c.rs::gone`; later: z |\n\
                  | 2a | x | pending |\n| 2b | x | types: `T`, why |\n";
    let after = "# Title\n\n| row | seen |\n| 1a | x | `a.rs::both`<br>`b.rs::other` |\n\
                 | 1b ★ | y | `a.rs::both`; later: z |\n| 2a | x | pending |\n\
                 | 2b | x | `a.rs::both`; types: `T`, why |\n";
    assert_eq!(filled(before, &claims), after);
    assert_eq!(filled(after, &claims), after);
}

#[test]
fn a_malformed_list_of_rows_is_none() {
    for (line, rows) in [
        ("Row 3: x", Some("3")),
        ("Rows 3, 40b: x: y", Some("3 40b")),
        ("Row 3 x", Some("")),
        ("Rows 1-5: x", Some("")),
        ("Rows of something", Some("")),
        ("Rowing: 3", None),
        ("Some row: 3", None),
    ] {
        let said = rows_said(line).map(|rows| rows.iter().map(Row::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(said.as_deref(), rows, "{line}");
    }
}
