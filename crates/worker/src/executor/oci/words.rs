//! What a runtime said before it failed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// So many bytes at the end of a log are looked at.
const TAIL: u64 = 16 << 10;
/// So many characters are told.
const TOLD: usize = 2000;
/// So many errors are told.
const LINES: usize = 3;

/// A line of a log that is JSON.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    msg: String,
}

/// The last errors in a runtime's log; what is no JSON counts as one. Empty if there is none.
pub(super) fn of_log(path: &Path) -> String {
    let text = tail(path).unwrap_or_default();
    let error = |line: &str| match serde_json::from_str::<Line>(line) {
        // One runtime has no level for its errors.
        Ok(Line { level, msg }) => matches!(level.as_str(), "error" | "fatal" | "").then_some(msg),
        Err(_) => Some(line.trim().to_owned()).filter(|line| !line.is_empty()),
    };
    let mut errors: Vec<String> = text.lines().rev().filter_map(error).take(LINES).collect();
    errors.reverse();
    told(&errors.join("; "))
}

/// Words without what a terminal would take for orders, and not too many of them.
pub(super) fn told(text: &str) -> String {
    let text = text.trim();
    let plain = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let skipped = text.chars().count().saturating_sub(TOLD);
    plain.skip(skipped).collect()
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = concat!(
            r#"{"level":"warning","msg":"lame"}"#,
            "\n",
            r#"{"level":"error","msg":"runc run failed: no such\u001b[31m file","time":"now"}"#,
            "\n",
            "Segmentation fault\n",
        );
        std::fs::write(file.path(), log).unwrap();
        assert_eq!(of_log(file.path()), "runc run failed: no such [31m file; Segmentation fault");
        assert_eq!(of_log(Path::new("/nonexistent")), "");
    }

    #[test]
    fn garbage_is_cut() {
        assert_eq!(told(&"ä".repeat(5000)).chars().count(), TOLD);
    }
}
