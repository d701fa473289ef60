//! `docs/transfers.md`, `docs/cache.md` and `docs/solver.md`: every row is there once, and the tests it names exist and say that they prove it.
//!
//! A test says so in a line of its comment, of the first table with `/// Row 3: …` or `/// Rows 3, 4b: …`, of the others
//! with `/// BuildKit row 3: …` or `/// BuildKit rows 3, 4b: …`; it may say both. With `LAZYBLOB_ROWS=write` in the
//! environment these tests write such tests into the tables instead of complaining.

mod claims;
mod faults;
mod proof;
mod row;
mod table;

use self::table::Table;

/// What transfers do.
const TRANSFERS: Table = Table {
    document: "docs/transfers.md",
    word: "Row",
    rows: &[1..=99],
    required: &[1..=40, 46..=58, 60..=61, 64..=76, 89..=99],
    // Several ranges of one blob at a time.
    not_required: &[(64, Some('b')), (65, Some('b'))],
    not_here: &[],
    later: &["large blobs and jobs"],
};

/// What the cache does, numbered as the same things are in a list of what BuildKit does.
const CACHE: Table = Table {
    document: "docs/cache.md",
    word: "BuildKit row",
    rows: &[1..=48, 95..=112],
    required: &[1..=48, 95..=112],
    not_required: &[],
    // Pruning that nobody asked for, and lists of files that are kept.
    not_here: &[41, 47, 48],
    later: &[],
};

/// What the solver does, numbered likewise.
const SOLVER: Table = Table {
    document: "docs/solver.md",
    word: "BuildKit row",
    rows: &[53..=94],
    required: &[53..=94],
    not_required: &[],
    not_here: &[92],
    later: &[],
};

const TABLES: [Table; 3] = [TRANSFERS, CACHE, SOLVER];

fn writes() -> bool {
    std::env::var("LAZYBLOB_ROWS").is_ok_and(|mode| mode == "write")
}

#[test]
fn every_row_has_its_proof() {
    let wrong: Vec<String> = TABLES.iter().flat_map(Table::faults).collect();
    assert!(writes() || wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_claims_a_row_is_listed_with_it() {
    if writes() {
        TABLES.iter().for_each(Table::write);
    } else {
        TABLES.iter().for_each(|table| table.check_claims(&TABLES));
    }
}
