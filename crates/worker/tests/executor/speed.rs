//! What a container costs.

use std::time::Instant;

use lazyblob_worker::executor::Security;

use crate::support::World;

/// `cargo test --test executor -- --ignored --nocapture speed`
#[tokio::test]
#[ignore = "a measurement"]
async fn how_long_a_command_takes() {
    let Some(world) = World::new("measuring").await else { return };
    for security in [Security::Sandbox, Security::Insecure] {
        let mut times = Vec::new();
        for _ in 0..40 {
            let mut process = world.process(&["true"]);
            process.security = security;
            let begun = Instant::now();
            world.text(process).await;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("{security:?}: median {:?}, least {:?}, most {:?}", times[20], times[0], times[39]);
    }
    world.close().await;
}
