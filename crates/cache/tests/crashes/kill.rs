//! Processes are killed at any moment, again and again, on one root.

use std::time::{Duration, Instant};

use crate::check::{Crash, becomes_whole, check, nothing_is_leaked};
use crate::oracle::Oracle;
use crate::other::{Other, Role};
use crate::support::{IMAGES, Kind, QUIET, World, seed, soaks};

/// Every so many rounds it is looked whether something was leaked; the root is empty then.
const CYCLE: u64 = 5;

/// In each round so many processes share `IMAGES` workers; one is killed while the others go on, then they are.
async fn rounds(world: &World, processes: usize, rounds: u64, default_seed: u64) {
    let _busy = QUIET.read().await;
    let seed = seed(default_seed);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let (mut oracle, begun) = (Oracle::default(), Instant::now());
    for round in 0..rounds {
        println!("{:?}, {processes}: round {round} of LAZYBLOB_SEED={seed}", world.kind);
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(round << 8));
        let start = |process| {
            let workers = (0..2 * processes).filter(|worker| worker % processes == process).collect();
            Other::start(world, &root, Role::Work { seed: random.u64(..), workers, of: 2 * processes })
        };
        assert_eq!(IMAGES % (2 * processes), 0, "each worker has as many names");
        let others: Vec<Other> = (0..processes).map(start).collect();
        let mut said = Vec::new();
        for mut other in others {
            said.extend(other.does(random.usize(0..14)).await);
            // Half of them at once: most of what can be cut in two takes no longer.
            let pause = if random.bool() { random.u64(0..8_000) } else { random.u64(0..300_000) };
            tokio::time::sleep(Duration::from_micros(pause)).await;
            said.extend(other.kill().await);
        }
        oracle.heard(said);
        let manager = world.manager(&root).await;
        check(world, &manager, &mut oracle, Crash::Kill).await;
        if let Some(name) = random.choice(oracle.there()) {
            becomes_whole(world, &manager, &mut oracle, &name).await;
        }
        if round % CYCLE == CYCLE - 1 {
            nothing_is_leaked(&manager, &mut oracle).await;
        }
        manager.close().await.unwrap();
    }
    println!("{:?}: {} deeds in {rounds} rounds, {:?}", world.kind, oracle.done, begun.elapsed());
}

fn many(rounds: u64) -> u64 {
    if soaks() { 25 * rounds } else { rounds }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_roots_outlive_kill_9() {
    let world = World::new(Kind::Plain).await;
    rounds(&world, 1, many(20), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlay_roots_outlive_kill_9() {
    let Some(world) = World::overlay("processes that use overlayfs are killed").await else { return };
    rounds(&world, 1, many(20), 2).await;
}

/// Whoever is left goes on as if nothing had happened, and neither prunes what the other needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_processes_is_killed() {
    let world = World::new(Kind::Plain).await;
    rounds(&world, 2, many(10), 4).await;
}
