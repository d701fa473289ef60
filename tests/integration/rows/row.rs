//! A row, or one of its parts: `26`, `26a`.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) number: u8,
    pub(super) part: Option<char>,
}

impl Row {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let part = text.strip_prefix(number)?.chars().next();
        let row = Self { number: number.parse().ok()?, part };
        (row.to_string() == text).then_some(row)
    }

    /// Whether a test that says it proves `self` proves `other`.
    pub(super) fn covers(self, other: Self) -> bool {
        self.number == other.number && (self.part.is_none() || self.part == other.part)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.part.map_or(Ok(()), |part| write!(f, "{part}"))
    }
}
