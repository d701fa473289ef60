//! The power goes while a process writes.

use std::collections::BTreeSet;

use lazyblob_cache::testing::PowerCut;

use crate::processes::{Counting, assert_acked, assert_journalled, soaks};
use crate::support::persistent;

#[tokio::test]
async fn what_was_acknowledged_outlives_a_power_cut() {
    let rounds = if soaks() { 50 } else { 3 };
    for engine in persistent() {
        let what = format!("a power cut while {} is written to", engine.name());
        let Some(mut power) = PowerCut::new(&what, 64) else { return };
        let root = power.root().join("cache");
        let mut acked = BTreeSet::new();
        let mut random = fastrand::Rng::with_seed(3);
        for round in 0..rounds {
            let mut counting = Counting::start(&root, &*engine);
            counting.wait_for(random.usize(1..60));
            power.cut();
            acked.extend(counting.kill());
            power.remount();
            assert_acked(&root, &engine, &acked, &format!("round {round}")).await;
        }
        assert_journalled(&root, &engine, &acked).await;
    }
}
