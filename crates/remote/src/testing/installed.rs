//! Programs a test wants and this machine may lack.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Says that `what` is not run, and why: printed, and noted as a line in the file that `$LAZYBLOB_NOT_RUN` names, since
/// what a passing test prints is not shown.
///
/// # Panics
/// Where `CI` is set: there everything runs. And where the file cannot be written.
#[allow(clippy::print_stderr, reason = "the reader of a test's output is to know")]
pub fn not_run(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is not run: {why}");
    eprintln!("not run: {what}: {why}");
    if let Some(path) = std::env::var_os("LAZYBLOB_NOT_RUN") {
        note(Path::new(&path), what, why);
    }
}

fn note(path: &Path, what: &str, why: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the list can be opened");
    // One write, since other tests append to it too.
    file.write_all(format!("{what}: {why}\n").as_bytes()).expect("the list can be written");
}

/// Whether all `programs` are on `PATH`; where one is not, `what` is noted as not run.
#[must_use]
pub fn installed(what: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&&str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let absent = programs.iter().find(|program| !is_there(program));
    if let Some(absent) = absent {
        not_run(what, &format!("{absent} is not installed"));
    }
    absent.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_lines_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        note(&list, "one", "why");
        note(&list, "two", "why not");
        assert_eq!(std::fs::read_to_string(&list).unwrap(), "one: why\ntwo: why not\n");
        assert!(installed("this test", &["sh", "cat"]));
    }
}
