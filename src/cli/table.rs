//! Listings: a table where people read it, fields with tabs between them where programs do.

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::HumanDuration;

use super::exit::Failure;
use super::output;

/// Writes `rows` to standard output. Programs get no head: what is one line each can be counted.
pub(crate) fn show<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    output::lines(&if std::io::stdout().is_terminal() { aligned(head, rows) } else { tabbed(rows) })
}

/// How long ago something was, of milliseconds since 1970.
pub(crate) fn ago(at: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", HumanDuration(now.saturating_sub(Duration::from_millis(at))))
}

fn tabbed<const N: usize>(rows: &[[String; N]]) -> String {
    rows.iter().map(|row| row.join("\t") + "\n").collect()
}

/// Columns as wide as what is in them; the last one is not filled up.
fn aligned<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_fields_are_not() {
        let rows = [["a", "1 B", "x"], ["long", "100 B", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(["NAME", "SIZE", "Z"], &rows), "NAME  SIZE   Z\na     1 B    x\nlong  100 B\n");
        assert_eq!(tabbed(&rows), "a\t1 B\tx\nlong\t100 B\t\n");
        assert_eq!(tabbed::<3>(&[]), "");
    }
}
