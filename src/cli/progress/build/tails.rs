//! The last lines of what commands write, for those that fail.

use std::collections::HashMap;

/// So many lines of a failed command's output are shown again.
const LINES: usize = 30;
/// So long a line may be on average.
const LINE: usize = 512;

/// The last bytes that each vertex wrote.
#[derive(Debug, Default)]
pub(super) struct Tails(HashMap<usize, Vec<u8>>);

impl Tails {
    /// Takes in what the vertex of this number wrote.
    pub(super) fn keep(&mut self, number: usize, data: &[u8]) {
        let tail = self.0.entry(number).or_default();
        tail.extend_from_slice(data);
        let excess = tail.len().saturating_sub(LINES * LINE);
        tail.drain(..excess);
    }

    /// The last lines that the vertex wrote, which is over.
    pub(super) fn take(&mut self, number: usize) -> Vec<String> {
        let tail = self.0.remove(&number).unwrap_or_default();
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let from = lines.len().saturating_sub(LINES);
        lines[from..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut tails = Tails::default();
        for line in 0..10_000 {
            tails.keep(1, format!("line {line}\n").as_bytes());
        }
        tails.keep(2, b"other");
        let last = tails.take(1);
        assert_eq!((last.len(), &*last[29]), (LINES, "line 9999"));
        assert_eq!((tails.take(1), tails.take(2)), (vec![], vec!["other".to_owned()]));
    }
}
