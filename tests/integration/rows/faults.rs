//! What is checked of a table is really found.

use std::collections::BTreeMap;

use super::TRANSFERS;
use super::claims::rows_said;
use super::row::Row;
use super::table::Table;

/// Twenty rows, of which ten need a proof.
const TABLE: Table = Table {
    document: "none.md",
    word: "Row",
    rows: &[1..=10, 90..=99],
    required: &[1..=10],
    not_required: &[(9, Some('b'))],
    not_here: &[8],
    later: &["issue 6, the build engine"],
};

const TESTS: &str = "/// Rows 1, 2b: both.\n#[test]\nfn both() {}\n#[tokio::test(start_paused = true)]\nasync fn nothing() {}\n\
                     /// Row 3: no test.\nfn helper() {}\npub(crate) struct Kind<T>(T);\n\
                     /// BuildKit rows 5, 6: of another table.\n/// Row 7: and of this.\n#[test]\nfn two() {}\n";

fn complaints_about(rows: &[(&str, &str)]) -> Vec<String> {
    let mut lines: BTreeMap<Row, String> = TABLE
        .rows
        .iter()
        .cloned()
        .flatten()
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
    TABLE.complaints(&format!("| row | seen | proof |\n|---|---|---|\n{}", document.join("\n")), read)
}

#[test]
fn a_table_without_fault_is_not_complained_of() {
    assert_eq!(complaints_about(&[]), <[&str; 0]>::default());
    let whole =
        [("1", "`a.rs::both`"), ("2a", "types: `a.rs::Kind`, why"), ("2b", "`a.rs::both`, `a.rs::both`")];
    assert_eq!(complaints_about(&whole), <[&str; 0]>::default());
    let excused = [
        ("7", "`a.rs::two`"),
        ("8", "not here: nobody wants it"),
        ("9a", "types: `a.rs::Kind`, why"),
        ("9b", "later: issue 6, the build engine"),
        ("99", "later: issue 6, the build engine"),
    ];
    assert_eq!(complaints_about(&excused), <[&str; 0]>::default());
}

#[test]
fn every_fault_of_a_table_is_found() {
    for (rows, complaint) in [
        (&[("7", "gone")][..], "row 7 is not there once"),
        (&[("7a", "`a.rs::both`")], "row 7 is not there once"),
        (&[("1", "`a.rs::both`"), ("1b", "`a.rs::both`")], "row 1 is not there once"),
        (&[("100", "later: issue 6, the build engine")], "not in order"),
        (&[("11", "later: issue 6, the build engine")], "not in order"),
        (&[("1", "`b.rs::both`")], "row 1: there is no test `both` in b.rs"),
        (&[("1", "`a.rs::helper`")], "no test `helper`"),
        (&[("1", "`a.rs::nothing`")], "`nothing` in a.rs does not say"),
        (&[("4", "`a.rs::both`")], "row 4: `both` in a.rs does not say"),
        (&[("5", "`a.rs::two`")], "row 5: `two` in a.rs does not say"),
        (&[("2a", "`a.rs::both`"), ("2b", "`a.rs::both`")], "row 2a: `both` in a.rs does not say"),
        (&[("1", "`both`")], "`both` is not FILE::NAME"),
        (&[("1", "some words")], "`some words` is none of"),
        (&[("1", "types: `a.rs::Kin` says so")], "no type `Kin` in a.rs"),
        (&[("1", "types: `a.rs::Kind`")], "or why"),
        (&[("1", "later: issue 6, the build engine")], "row 1: it needs a test or a type"),
        (&[("7", "not here: nobody wants it")], "row 7: it has to be here"),
        (&[("8", "later: issue 6, the build engine")], "row 8: it needs a test or a type"),
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
                  | 2a | x | pending |\n| 2b | x | types: `T`, why |\n| 3 | x | `c.rs::gone`; not here: why |\n";
    let after = "# Title\n\n| row | seen |\n| 1a | x | `a.rs::both`<br>`b.rs::other` |\n\
                 | 1b ★ | y | `a.rs::both`; later: z |\n| 2a | x | pending |\n\
                 | 2b | x | `a.rs::both`; types: `T`, why |\n| 3 | x | not here: why |\n";
    assert_eq!(Table::filled(before, &claims), after);
    assert_eq!(Table::filled(after, &claims), after);
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
        ("BuildKit row 3: x", None),
    ] {
        let shown = |rows: Vec<Row>| rows.iter().map(Row::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(rows_said(line, TRANSFERS.word).map(shown).as_deref(), rows, "{line}");
        let other = line.strip_prefix("Row").map(|rest| format!("BuildKit row{rest}"));
        assert_eq!(
            other.and_then(|line| rows_said(&line, "BuildKit row")).map(shown).as_deref(),
            rows,
            "{line}"
        );
    }
}
