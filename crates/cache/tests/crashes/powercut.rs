//! The power goes while a process works.

use lazyblob_cache::testing::PowerCut;

use crate::check::{Crash, becomes_whole, check, nothing_is_leaked};
use crate::oracle::{Fact, Oracle, What};
use crate::other::{Other, Role};
use crate::support::{Kind, QUIET, World, seed, soaks};

/// What is done last before the power goes, in one round after the other: each by itself has to see to it that it lasts.
const LAST: [fn(&Fact) -> bool; 6] = [
    |fact| matches!(fact, Fact::Local { .. }),
    |fact| matches!(fact, Fact::Unpacked { .. }),
    |fact| matches!(fact, Fact::Finalized { .. }),
    |fact| matches!(fact, Fact::Blob { .. }),
    |fact| matches!(fact, Fact::Imported { .. }),
    |fact| matches!(fact, Fact::Composed { .. }),
];

fn work(seed: u64) -> Role {
    Role::Work { seed, workers: vec![0, 1], of: 2 }
}

/// Row 95b: what was acknowledged is there when the power is back; a database that was set aside and filled again is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_power_cut() {
    outlives(&World::new(Kind::Plain).await).await;
}

/// And so with overlayfs, where trees and rows become durable together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_durable_together_outlives_a_power_cut() {
    let Some(world) = World::overlay("a power cut with overlayfs").await else { return };
    outlives(&world).await;
}

async fn outlives(world: &World) {
    let _busy = QUIET.read().await;
    let rounds = if soaks() { 50 } else { 3 };
    let Some(mut power) = PowerCut::new("a power cut while a cache is worked on", 256) else { return };
    let (seed, root) = (seed(3), power.root().join("root"));
    let mut oracle = Oracle::default();
    let mut told = 0;
    for round in 0..rounds {
        println!("power: round {round} of LAZYBLOB_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(round << 8));
        let mut other = Other::start(world, &root, work(random.u64(..)));
        let mut said = other.does(random.usize(3..20)).await;
        let last = LAST[usize::try_from(round).unwrap() % LAST.len()];
        while !said.last().is_some_and(|said| matches!(&said.what, What::End(Some(fact)) if last(fact))) {
            said.extend(other.does(1).await);
        }
        // What it has said before is true; it says nothing any more that the power cut has made a lie.
        other.stop();
        power.cut();
        said.extend(other.kill().await);
        oracle.heard(said);
        power.remount();
        let manager = world.manager(&root).await;
        let notices = check(world, &manager, &mut oracle, Crash::Power).await;
        for notice in &notices {
            println!("power: round {round}: {notice}");
        }
        told += usize::from(!notices.is_empty());
        if let Some(name) = random.choice(oracle.there()) {
            becomes_whole(world, &manager, &mut oracle, &name).await;
        }
        if round % 3 == 2 {
            nothing_is_leaked(&manager, &mut oracle).await;
        }
        manager.close().await.unwrap();
    }
    println!("power: {} deeds in {rounds} rounds; something was told after {told}", oracle.done);
}
