//! The arrows between the crates, and what every part of the repository must have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crate may use which; whoever is not named here may use none.
const ALLOWED: [(&str, &[&str]); 4] = [
    (
        "lazyblob",
        &[
            "lazyblob-worker",
            "lazyblob-solver",
            "lazyblob-cache",
            "lazyblob-remote",
            "lazyblob-flightcontrol",
        ],
    ),
    ("lazyblob-worker", &["lazyblob-solver", "lazyblob-cache", "lazyblob-remote"]),
    ("lazyblob-cache", &["lazyblob-remote", "lazyblob-flightcontrol"]),
    ("lazyblob-remote", &["lazyblob-flightcontrol"]),
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Every edge between two packages of the workspace, those of tests aside.
fn edges(packages: &[Value]) -> BTreeSet<(String, String)> {
    let name = |package: &Value| package["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let mut edges = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            // `kind` is null for an ordinary dependency.
            if dependency["kind"] != "dev" && ours.contains(&name(dependency)) {
                edges.insert((name(package), name(dependency)));
            }
        }
    }
    edges
}

fn allowed() -> BTreeSet<(String, String)> {
    let each = |(from, to): &(&str, &[&str])| -> Vec<(String, String)> {
        to.iter().map(|to| ((*from).to_owned(), (*to).to_owned())).collect()
    };
    ALLOWED.iter().flat_map(each).collect()
}

#[test]
fn crates_use_only_what_they_may() {
    let packages = packages();
    assert_eq!(packages.len(), 6, "a new crate needs its place in the arrows");
    let offending: Vec<_> = edges(&packages).difference(&allowed()).cloned().collect();
    assert!(offending.is_empty(), "not allowed: {offending:?}");
}

#[test]
fn the_document_shows_the_same_arrows() {
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    // `a -> b, c` in a block of its own.
    let arrows = |line: &str| {
        let (from, to) = line.trim().split_once(" -> ")?;
        let (from, to) = (from.to_owned(), to.split(", ").map(str::to_owned).collect::<Vec<_>>());
        let is_ours = from.starts_with("lazyblob") && !from.contains(' ');
        is_ours.then(|| to.into_iter().map(move |to| (from.clone(), to)))
    };
    let shown: BTreeSet<_> = text.lines().filter_map(arrows).flatten().collect();
    assert_eq!(shown, allowed());
}

#[test]
fn no_crate_has_unsafe_code() {
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            let kinds = target["kind"].as_array().unwrap();
            if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                let path = target["src_path"].as_str().unwrap();
                let text = fs::read_to_string(path).unwrap();
                let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
                assert!(forbids, "{path} does not forbid unsafe code");
            }
        }
    }
}

/// Every Rust file below `directory`.
pub(crate) fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    files.chain(directories.iter().flat_map(|path| sources(path))).collect()
}

#[test]
fn no_test_file_is_forgotten() {
    let directory = root().join("tests/integration");
    for path in sources(&directory) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (module, parent) = match stem {
            "main" => continue,
            "mod" => (path.parent().unwrap().file_name().unwrap().to_str().unwrap(), path.parent().unwrap()),
            stem => (stem, path.as_path()),
        };
        let above = parent.parent().unwrap();
        let declaring = if above == directory { above.join("main.rs") } else { above.join("mod.rs") };
        let text = fs::read_to_string(&declaring).unwrap();
        let declared = text.lines().any(|line| line == format!("mod {module};"));
        assert!(declared, "{} is not in {}", path.display(), declaring.display());
    }
}

#[test]
fn every_crate_and_every_document_is_in_its_place() {
    let documents =
        ["ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "README.md", "SHORTCOMINGS.md", "docs/adr"];
    let crates =
        ["cache", "flightcontrol", "remote", "solver", "worker"].map(|name| format!("crates/{name}"));
    for name in documents.map(str::to_owned).iter().chain(&crates) {
        let path = root().join(name);
        assert!(path.exists(), "{} is missing", path.display());
    }
}
