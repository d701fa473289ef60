//! Several processes on one root: this test binary runs itself as the other one.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

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
        "churn" => {
            let _kept = root.live().pin(&[record("kept")]).unwrap();
            say("pinned");
            // Until it is killed.
            for turn in 0_u64.. {
                drop(root.live().pin(&[record(&format!("turn {turn}"))]).unwrap());
            }
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

/// BuildKit row 10: what a process holds ends with it.
#[tokio::test]
async fn what_a_living_process_pins_is_known_and_a_dead_one_pins_nothing() {
    let bench = Bench::new().await;
    let live = bench.root.live();
    let mine = live.pin(&[record("mine")]).unwrap();
    let mut other = Other::start("pin", &bench.root);
    other.wait_for("pinned");
    let all = ["mine", "first", "both"].map(record);
    assert_eq!(live.pinned().unwrap(), HashSet::from(all));
    assert_eq!(live.pinned_by_others().unwrap(), HashSet::from(["first", "both"].map(record)));
    other.go();
    other.wait_for("let go");
    assert_eq!(live.pinned().unwrap(), HashSet::from(["mine", "both"].map(record)));
    other.kill();
    assert_eq!(names(&bench.root.dir(Dir::Live)).len(), 2, "its file is left");
    assert_eq!(live.pinned().unwrap(), HashSet::from([record("mine")]));
    assert_eq!(names(&bench.root.dir(Dir::Live)).len(), 1);
    drop(mine);
    let mut other = Other::start("pin", &bench.root);
    other.wait_for("pinned");
    other.end();
    assert_eq!(names(&bench.root.dir(Dir::Live)).len(), 1, "who ends well takes its file along");
}

/// A process that is stopped wherever it is keeps nobody from seeing what it pins.
#[tokio::test]
async fn who_is_stopped_while_it_writes_keeps_nobody_waiting() {
    let bench = Bench::new().await;
    let mut other = Other::start("churn", &bench.root);
    other.wait_for("pinned");
    for round in 0..300 {
        let state = other.stop();
        let since = Instant::now();
        let pinned = bench.root.live().pinned().unwrap();
        assert!(pinned.contains(&record("kept")), "round {round}: {pinned:?}");
        assert!(pinned.len() <= 2, "round {round}: {pinned:?}");
        // Nobody waits for it: so long takes a look at most, on any machine.
        assert!(since.elapsed() < Duration::from_secs(1), "round {round}: {:?}", since.elapsed());
        state.resume();
        // It gets on for a while, each time for another.
        let until = Instant::now() + Duration::from_micros(round * 7 % 500);
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
    other.kill();
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
