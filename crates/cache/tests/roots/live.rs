//! What is pinned, by one process; several of them are in `processes`.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use lazyblob_cache::ChainId;
use lazyblob_cache::root::{Dir, Pin};
use lazyblob_remote::digest;

use super::support::{Bench, names};

fn record(id: &str) -> Pin {
    Pin::Record(id.into())
}

/// Lines about pins in the one file there is.
fn lines(bench: &Bench) -> Vec<String> {
    let dir = bench.root.dir(Dir::Live);
    let names = names(&dir);
    assert_eq!(names.len(), 1, "{names:?}");
    let text = fs::read_to_string(dir.join(&names[0])).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn pins_are_counted_and_written_once() {
    let bench = Bench::new().await;
    let live = bench.root.live();
    let (blob, chain) = (digest::sha256(b"blob"), ChainId::from_digest(digest::sha256(b"chain")));
    let pins = [record("a b"), Pin::Blob(blob.clone()), Pin::Chain(chain.clone())];
    let first = live.pin(&pins).unwrap();
    let second = live.pin(&pins[1..2]).unwrap();
    let written = ["+ record a b".to_owned(), format!("+ blob {blob}"), format!("+ chain {chain}")];
    assert_eq!(lines(&bench), written);
    let others = bench.again().await;
    assert_eq!(others.live().pinned().unwrap(), HashSet::from(pins.clone()));
    assert_eq!(live.pinned().unwrap(), HashSet::from(pins.clone()), "its own are among them");
    assert!(live.pinned_by_others().unwrap().is_empty());
    assert_eq!(others.live().pinned_by_others().unwrap(), HashSet::from(pins.clone()));
    drop(first);
    assert_eq!(others.live().pinned().unwrap(), HashSet::from([pins[1].clone()]));
    assert!(live.is_pinned_here(&pins[1]) && !live.is_pinned_here(&pins[0]));
    drop(second);
    assert_eq!(lines(&bench).len(), 6);
    assert!(others.live().pinned().unwrap().is_empty());
    // A pin that comes back is a new line.
    let _third = live.pin(&pins[..1]).unwrap();
    assert_eq!(others.live().pinned().unwrap(), HashSet::from([pins[0].clone()]));
}

#[tokio::test]
async fn a_root_that_is_let_go_leaves_nothing() {
    let bench = Bench::new().await;
    let other = bench.again().await;
    let pinned = other.live().pin(&[record("a")]).unwrap();
    drop(other);
    assert_eq!(bench.root.live().pinned().unwrap().len(), 1, "what is pinned stays so");
    drop(pinned);
    assert!(names(&bench.root.dir(Dir::Live)).is_empty());
    assert!(bench.root.live().pinned().unwrap().is_empty());
}

#[tokio::test]
async fn a_list_of_what_is_over_is_written_anew() {
    let bench = Bench::new().await;
    let live = bench.root.live();
    let kept = live.pin(&[record("kept")]).unwrap();
    for turn in 0..1000 {
        drop(live.pin(&[record(&format!("turn {turn}"))]).unwrap());
    }
    let lines = lines(&bench);
    assert!(lines.len() < 200, "{} lines for one pin", lines.len());
    let last = live.pin(&[record("last")]).unwrap();
    let expected = HashSet::from([record("kept"), record("last")]);
    assert!(live.pinned_by_others().unwrap().is_empty(), "it is its own under any name");
    assert_eq!(bench.again().await.live().pinned().unwrap(), expected);
    drop((kept, last));
    assert!(live.pinned().unwrap().is_empty());
}

/// Whoever lists while others write sees what is pinned all the time, and nothing that never was.
#[tokio::test]
async fn listing_while_others_pin_never_misses_what_stays() {
    let bench = Bench::new().await;
    let kept: Vec<_> = (0..20).map(|kept| record(&format!("kept {kept}"))).collect();
    let _pinned = bench.root.live().pin(&kept).unwrap();
    let others = bench.again().await;
    let list = Arc::clone(others.live());
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let over = Arc::clone(&done);
    let listing = std::thread::spawn(move || {
        let mut looks = 0;
        while !over.load(std::sync::atomic::Ordering::Relaxed) || looks == 0 {
            let found = list.pinned().unwrap();
            for pin in &kept {
                assert!(found.contains(pin), "{pin} is not in a list of {}", found.len());
            }
            for pin in found {
                let Pin::Record(id) = &pin else { panic!("{pin}") };
                assert!(id.starts_with("kept ") || id.starts_with("turn "), "{id}");
            }
            looks += 1;
        }
    });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let live = bench.root.live();
            scope.spawn(move || {
                for turn in 0..2000 {
                    let pins = [record(&format!("turn {thread} {turn}")), record(&format!("turn {turn}"))];
                    drop(live.pin(&pins).unwrap());
                }
            });
        }
    });
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    listing.join().unwrap();
    assert_eq!(bench.root.live().pinned().unwrap().len(), 20, "all that was let go of is so");
}

#[tokio::test]
async fn dead_files_and_half_written_ones_are_no_pins() {
    let bench = Bench::new().await;
    let _mine = bench.root.live().pin(&[record("mine")]).unwrap();
    let dir = bench.root.dir(Dir::Live);
    for dead in ["17-00", ".new-17-01"] {
        fs::write(dir.join(dead), "{}\n+ record dead\n").unwrap();
    }
    assert_eq!(bench.root.live().pinned().unwrap(), HashSet::from([record("mine")]));
    assert_eq!(names(&dir).len(), 1, "their files are removed");
    assert!(names(&dir)[0].starts_with(&format!("{}-", std::process::id())));
}

#[tokio::test]
async fn a_record_without_a_proper_id_is_not_pinned() {
    let bench = Bench::new().await;
    for id in ["", "a\n+ record b", "a\r"] {
        let error = bench.root.live().pin(&[record("good"), record(id)]).unwrap_err();
        assert!(error.to_string().contains("that is no id"), "{error}");
    }
    assert!(bench.root.live().pinned().unwrap().is_empty());
    assert!(!bench.root.live().is_pinned_here(&record("good")));
}

/// What cannot be written is not pinned, and said not to be.
#[tokio::test]
async fn a_pin_that_cannot_be_written_is_an_error() {
    let bench = Bench::new().await;
    let dir = bench.root.dir(Dir::Live);
    fs::remove_dir(&dir).unwrap();
    let error = bench.root.live().pin(&[record("a")]).unwrap_err();
    assert!(error.to_string().contains("live"), "{error}");
    assert!(!bench.root.live().is_pinned_here(&record("a")));
    fs::create_dir(&dir).unwrap();
    let _pinned = bench.root.live().pin(&[record("b")]).unwrap();
    assert_eq!(bench.root.live().pinned().unwrap(), HashSet::from([record("b")]));
}
