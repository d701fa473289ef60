//! A table of rows in a document, and what is wrong with it.

use std::fs;
use std::ops::RangeInclusive;

use super::claims::{Claims, claims, declares, tests_of};
use super::proof::Proof;
use super::row::Row;
use crate::architecture::root;

/// A document, and what it has to say.
pub(super) struct Table {
    /// Where it is.
    pub(super) document: &'static str,
    /// How a test begins to say which of its rows it proves.
    pub(super) word: &'static str,
    /// All rows there are.
    pub(super) rows: &'static [RangeInclusive<u8>],
    /// Rows that need a proof; the others may be left to a later part of the project.
    pub(super) required: &'static [RangeInclusive<u8>],
    /// Parts of those that do not.
    pub(super) not_required: &'static [(u8, Option<char>)],
    /// Rows of things that this project does not do, and need not.
    pub(super) not_here: &'static [u8],
    /// The parts of the project that are to bring the rest.
    pub(super) later: &'static [&'static str],
}

/// The rows of a document in their order, and what is wrong with how it is written.
pub(super) fn rows(document: &str) -> (Vec<(Row, Proof)>, Vec<String>) {
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

impl Table {
    /// Everything that is wrong with the document as it is, or one like it, whose files `read` reads.
    pub(super) fn complaints(&self, document: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let (rows, mut wrong) = rows(document);
        let listed: Vec<Row> = rows.iter().map(|(row, _)| *row).collect();
        let expected = |number: u8| {
            let parts: Vec<_> =
                listed.iter().filter(|row| row.number == number).map(|row| row.part).collect();
            let lettered = ('a'..='z').take(parts.len()).map(Some);
            parts == [None] || parts.len() > 1 && parts.iter().copied().eq(lettered)
        };
        let all = self.rows.iter().cloned().flatten();
        wrong.extend(
            all.filter(|number| !expected(*number)).map(|number| format!("row {number} is not there once")),
        );
        if !listed.is_sorted() || listed.iter().any(|row| !is_among(self.rows, *row)) {
            wrong.push("the rows are not in order".to_owned());
        }
        for (row, proof) in &rows {
            wrong
                .extend(self.unproven(*row, proof, &read).into_iter().map(|why| format!("row {row}: {why}")));
        }
        wrong
    }

    /// What is wrong with the proof of one row.
    fn unproven(&self, row: Row, proof: &Proof, read: &impl Fn(&str) -> Option<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (file, name) in &proof.tests {
            let text = read(file).unwrap_or_default();
            match tests_of(&text, self.word).get(name.as_str()) {
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
        if let Some(part) = proof.later.as_ref().filter(|part| !self.later.contains(&part.as_str())) {
            wrong.push(format!("nobody is `{part}`"));
        }
        let may_be_missing = self.not_here.contains(&row.number);
        if proof.not_here.is_some() && !may_be_missing {
            wrong.push("it has to be here".to_owned());
        }
        let proven = !proof.tests.is_empty() || !proof.types.is_empty();
        let excused = proof.not_here.is_some() && may_be_missing;
        let required = is_among(self.required, row) && !self.not_required.contains(&(row.number, row.part));
        if !proven && !excused && !proof.pending && required {
            wrong.push("it needs a test or a type".to_owned());
        }
        if proof.pending {
            wrong.push("it is pending".to_owned());
        }
        wrong
    }

    /// The document with the tests of each row as `claims` has them.
    pub(super) fn filled(document: &str, claims: &Claims) -> String {
        let fill = |line: &str| {
            let (cells, proof) = line.strip_suffix(" |")?.rsplit_once("| ")?;
            let row = Row::parse(cells.strip_prefix("| ")?.split([' ', '|']).next()?)?;
            let claiming = claims.iter().filter(|(_, said)| said.iter().any(|said| said.covers(row)));
            let tests: Vec<String> = claiming.map(|(test, _)| format!("`{test}`")).collect();
            let clauses = [tests.join("<br>")].into_iter().filter(|tests| !tests.is_empty());
            let lasting = proof.split("; ").filter(|clause| Proof::is_lasting(clause));
            let clauses: Vec<String> = clauses.chain(lasting.map(str::to_owned)).collect();
            let proof = if clauses.is_empty() { "pending".to_owned() } else { clauses.join("; ") };
            Some(format!("{cells}| {proof} |"))
        };
        let lines: Vec<String> =
            document.lines().map(|line| fill(line).unwrap_or_else(|| line.to_owned())).collect();
        lines.join("\n") + "\n"
    }

    /// Everything that is wrong with the document, each with the document's name.
    pub(super) fn faults(&self) -> Vec<String> {
        let read = |file: &str| fs::read_to_string(root().join(file)).ok();
        let wrong = self.complaints(&self.read(), read);
        wrong.into_iter().map(|why| format!("{}: {why}", self.document)).collect()
    }

    /// Checks that all tests which claim a row of this table are in it, and that what they claim is in one of `all`.
    pub(super) fn check_claims(&self, all: &[Self]) {
        let claims = claims(root(), self.word);
        let (document, written) = (self.read(), Self::filled(&self.read(), &claims));
        let same_word = all.iter().filter(|table| table.word == self.word);
        let rows: Vec<_> = same_word.flat_map(|table| rows(&table.read()).0).collect();
        let known = |said: &Row| rows.iter().any(|(row, _)| said.covers(*row));
        let strange = claims.iter().filter(|(_, said)| said.is_empty() || !said.iter().all(known));
        let strange: Vec<_> = strange.map(|(test, _)| test).collect();
        assert!(strange.is_empty(), "these tests name rows that no table has: {strange:#?}");
        let missing = written.lines().filter(|line| !document.contains(line)).count();
        assert_eq!(missing, 0, "rows of {} lack tests; LAZYBLOB_ROWS=write adds them", self.document);
    }

    /// Writes into the document what tests claim.
    pub(super) fn write(&self) {
        let written = Self::filled(&self.read(), &claims(root(), self.word));
        fs::write(root().join(self.document), written).unwrap();
    }

    fn read(&self) -> String {
        fs::read_to_string(root().join(self.document)).unwrap()
    }
}

fn is_among(ranges: &[RangeInclusive<u8>], row: Row) -> bool {
    ranges.iter().any(|rows| rows.contains(&row.number))
}
