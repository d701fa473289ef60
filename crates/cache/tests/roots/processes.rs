//! Several processes on one root: this test binary runs itself as the other one.

use std::collections::HashSet;
use std::path::Path;

use lazyblob_cache::root::{Dir, Pin, Root};
use tokio_util::sync::CancellationToken;

use super::support::{Bench, LONG, Notes, Other, ROLE, ROOT, names, say, settings, told_to_go};

fn record(id: &str) -> Pin {
    Pin::Record(id.into())
}

/// Does nothing unless it is run by one of the tests below.
#[tokio::test]
async fn the_other_process() {
    let (Ok(root), Ok(role)) = (std::env::var(ROOT), std::env::var(ROLE)) else { return };
    let root = Root::open(Path::new(&root), settings()).await.unwrap();
    match role.as_str() {
        "pin" => {
            let first = root.live().pin(&[record("first"), record("both")]).unwrap();
            let second = root.live().pin(&[record("both")]).unwrap();
            say("pinned");
            told_to_go();
            drop(first);
            say("let go");
            told_to_go();
            drop(second);
        }
        "make" => {
            let token = CancellationToken::new();
            let claim = root.staging_locks().claim("name", &Notes::default(), &token).await.unwrap();
            say("claimed");
            told_to_go();
            drop(claim);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_a_living_process_pins_is_known_and_a_dead_one_pins_nothing() {
    let bench = Bench::new().await;
    let live = bench.root.live();
    let mine = live.pin(&[record("mine")]).unwrap();
    let mut other = Other::start("pin", &bench.root);
    other.wait_for("pinned");
    let all = ["mine", "first", "both"].map(record);
    assert_eq!(live.pinned().unwrap(), HashSet::from(all));
    let processes = live.processes().unwrap();
    let pids: HashSet<_> = processes.iter().map(|process| process.pid).collect();
    assert_eq!(pids, HashSet::from([std::process::id(), other.pid()]));
    other.go();
    other.wait_for("let go");
    assert_eq!(live.pinned().unwrap(), HashSet::from(["mine", "both"].map(record)));
    other.kill();
    assert_eq!(names(&bench.root.dir(Dir::Live)).len(), 2, "its file is left");
    assert_eq!(live.pinned().unwrap(), HashSet::from([record("mine")]));
    assert_eq!(names(&bench.root.dir(Dir::Live)).len(), 1);
    assert_eq!(live.processes().unwrap().len(), 1);
    drop(mine);
    let mut other = Other::start("pin", &bench.root);
    other.wait_for("pinned");
    other.end();
    assert_eq!(names(&bench.root.dir(Dir::Live)).len(), 1, "who ends well takes its file along");
}

#[tokio::test]
async fn a_maker_is_waited_for_and_replaced_when_it_dies() {
    for dies in [false, true] {
        let bench = Bench::new().await;
        let mut other = Other::start("make", &bench.root);
        other.wait_for("claimed");
        let (notes, token) = (Notes::default(), CancellationToken::new());
        let pid = other.pid();
        let end = async {
            while notes.all().is_empty() {
                tokio::task::yield_now().await;
            }
            if dies { other.kill() } else { other.end() }
        };
        let claim = bench.root.staging_locks().claim("name", &notes, &token);
        let (claim, ()) = tokio::join!(tokio::time::timeout(LONG, claim), end);
        assert_eq!(notes.all(), [format!("name: waiting for process {pid}: a test")]);
        drop(claim.unwrap().unwrap());
        assert!(names(&bench.root.staging()).is_empty());
    }
}
