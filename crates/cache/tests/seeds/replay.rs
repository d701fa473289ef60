//! All seeds, and so many damaged ones.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lazyblob_cache::testing::fuzzing::mutate::mutated;
use lazyblob_cache::testing::fuzzing::{TARGETS, Target};

/// Programs that need more than this crate has; its own tests take what the others would here.
const ELSEWHERE: [&str; 1] = ["definitions"];

/// The seeds' directory.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

/// A target's seeds by name, in order.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory().join(target)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// Runs a target on `bytes`; a panic says what they are.
fn run(target: &Target, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        let kept = std::env::temp_dir().join(format!(
            "{}-{}",
            target.name,
            lazyblob_remote::digest::sha256(bytes).digest()
        ));
        fs::write(&kept, bytes).unwrap();
        // What is wrong was said by the panic itself.
        panic!("{}: {what} makes it panic; kept as {}", target.name, kept.display());
    }
}

#[test]
fn every_seed_is_taken() {
    for target in &TARGETS {
        let seeds = seeds(target.name);
        assert!(seeds.len() >= 3, "{} has no seeds", target.name);
        for (path, bytes) in seeds {
            run(target, &bytes, &path.display().to_string());
        }
    }
}

#[test]
fn there_is_a_program_for_every_target_and_seeds_for_nothing_else() {
    let mut names: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    let own = names.clone();
    names.extend(ELSEWHERE.map(str::to_owned));
    names.sort();
    let listed = |dir: PathBuf| {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> =
            entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(listed(directory()), names);
    assert_eq!(listed(directory().join("../fuzz_targets")), names);
    let manifest = fs::read_to_string(directory().join("../Cargo.toml")).unwrap();
    for name in &names {
        let program = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&program), "{name} is no program of fuzz/Cargo.toml");
    }
    for name in own {
        let source = fs::read_to_string(directory().join(format!("../fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("fuzzing::run(\"{name}\", bytes)")), "{name}: {source}");
    }
}

/// Seconds for each target: `LAZYBLOB_FUZZ_SECONDS`, or one with `LAZYBLOB_SOAK`, or a fraction.
fn time() -> Duration {
    let asked = std::env::var("LAZYBLOB_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let is_soak = std::env::var_os("LAZYBLOB_SOAK").is_some();
    Duration::from_secs_f64(asked.unwrap_or(if is_soak { 10.0 } else { 0.25 }))
}

/// The first number: `LAZYBLOB_FUZZ_SEED`, or by the clock with `LAZYBLOB_SOAK`, or always the same.
fn first() -> u64 {
    let asked = std::env::var("LAZYBLOB_FUZZ_SEED").ok().map(|seed| seed.parse().unwrap());
    let is_soak = std::env::var_os("LAZYBLOB_SOAK").is_some();
    asked.unwrap_or_else(|| if is_soak { fastrand::u64(..u64::MAX / 2) } else { 0 })
}

/// Each damaged input follows from its number alone: `LAZYBLOB_FUZZ_SEED=<number>` has it made first.
#[test]
fn damaged_seeds_are_an_error_at_most() {
    let (first, time) = (first(), time());
    println!("damaged seeds from number {first} on");
    for target in &TARGETS {
        let seeds: Vec<Vec<u8>> = seeds(target.name).into_iter().map(|(_, bytes)| bytes).collect();
        let begin = Instant::now();
        let mut number = first;
        while number == first || begin.elapsed() < time {
            run(target, &mutated(&seeds, number), &format!("number {number}"));
            number += 1;
        }
        println!("{}: {} inputs", target.name, number - first);
    }
}

#[test]
fn damage_follows_from_its_number() {
    let seeds = [b"one".to_vec(), vec![7; 3000]];
    let all: std::collections::HashSet<Vec<u8>> = (0..100).map(|number| mutated(&seeds, number)).collect();
    assert!(all.len() > 80, "{} of 100 differ", all.len());
    assert!((0..100).all(|number| all.contains(&mutated(&seeds, number))));
    drop(mutated(&[], 1));
}
