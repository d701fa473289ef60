//! The power goes while a process works.

use lazyblob_cache::testing::PowerCut;

use crate::check::{Crash, becomes_whole, check, nothing_is_leaked};
use crate::oracle::Oracle;
use crate::other::{Other, Role};
use crate::support::{Kind, QUIET, World, seed, soaks};

fn work(seed: u64) -> Role {
    Role::Work { seed, workers: vec![0, 1], of: 2 }
}

/// What was acknowledged is there when the power is back; a database that was set aside and filled again is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_power_cut() {
    let _busy = QUIET.read().await;
    let rounds = if soaks() { 50 } else { 3 };
    let Some(mut power) = PowerCut::new("a power cut while a cache is worked on", 256) else { return };
    let world = World::new(Kind::Plain).await;
    let (seed, root) = (seed(3), power.root().join("root"));
    let mut oracle = Oracle::default();
    let mut told = 0;
    for round in 0..rounds {
        println!("power: round {round} of LAZYBLOB_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(round << 8));
        let mut other = Other::start(&world, &root, work(random.u64(..)));
        let mut said = other.does(random.usize(3..30)).await;
        // What it has said before is true; it says nothing any more that the power cut has made a lie.
        other.stop();
        power.cut();
        said.extend(other.kill().await);
        oracle.heard(said);
        power.remount();
        let manager = world.manager(&root).await;
        let notices = check(&world, &manager, &mut oracle, Crash::Power).await;
        for notice in &notices {
            println!("power: round {round}: {notice}");
        }
        told += usize::from(!notices.is_empty());
        if let Some(name) = random.choice(oracle.there()) {
            becomes_whole(&world, &manager, &mut oracle, &name).await;
        }
        if round % 3 == 2 {
            nothing_is_leaked(&manager, &mut oracle).await;
        }
        manager.close().await.unwrap();
    }
    println!("power: {} deeds in {rounds} rounds; something was told after {told}", oracle.done);
}
