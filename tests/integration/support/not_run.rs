//! Programs a test wants and this machine may lack.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Says that `what` is not run, and why: printed, and noted as a line in the file `$LAZYBLOB_NOT_RUN` names, which the
/// test command shows at its end.
///
/// # Panics
/// Where `CI` is set: there everything runs.
pub(crate) fn not_run(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is not run: {why}");
    println!("not run: {what}: {why}");
    if let Some(path) = std::env::var_os("LAZYBLOB_NOT_RUN") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        // One write, since other tests append to the file too.
        file.write_all(format!("{what}: {why}\n").as_bytes()).unwrap();
    }
}

/// Whether all `programs` are installed; where one is not, `what` is noted as not run.
pub(crate) fn installed(what: &str, programs: &[&str]) -> bool {
    let is_there = |program: &&&str| {
        let mut version = Command::new(program);
        version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok()
    };
    match programs.iter().find(|program| !is_there(program)) {
        Some(absent) => not_run(what, &format!("{absent} is not installed")),
        None => return true,
    }
    false
}
