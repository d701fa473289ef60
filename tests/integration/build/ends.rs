//! Builds that are interrupted while a command runs.

use std::time::Duration;

use lazyblob::worker::llb;

use super::hub::Hub;
use super::support::{
    Door, all_cached, all_released, built, can_run, define, gets, into_dir, layers, only, read, shell,
    shell_image,
};
use crate::support::{Desk, Ran, signal};

/// An end takes much less than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A build is interrupted while its command runs: it ends soon, its command with it, nothing of it stays, and what was finished
/// before is found by the next one.
#[tokio::test]
async fn an_interrupted_command_leaves_what_was_finished_before() {
    if !can_run() {
        return;
    }
    let image = shell_image(1);
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let (desk, hub, door) = (Desk::new(), Hub::counting().await, Door::new().await);
        let base = llb::image(hub.seed("app", "1", &image).await);
        let first = base.run(shell("head -c 64 /dev/urandom | od -An -tx1 > /unique")).root();
        built(&desk, &only(&first, "/unique"), &into_dir(&desk, "first")).await;
        let waits = first.run(shell(&door.knock())).root();
        let words = format!("build --progress json {}", define(&desk, "waits", &waits));
        let child = desk.command(&words).spawn().unwrap();
        let mut waiting = door.somebody().await;
        signal(&child, name);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends soon");
        Ran::of(&words, output.unwrap()).exits(code);
        // The command is gone: what it had open is closed.
        let mut rest = Vec::new();
        let closed = tokio::io::AsyncReadExt::read_to_end(&mut waiting, &mut rest);
        let closed = tokio::time::timeout(PATIENCE, closed).await.expect("the command is dead");
        assert!(closed.is_ok_and(|read| read == 0) || rest.is_empty());
        hub.asked().await;

        let again = built(&desk, &only(&first, "/unique"), &into_dir(&desk, "again")).await;
        all_cached(&again);
        assert_eq!(read(&desk, "again/unique"), read(&desk, "first/unique"));
        assert_eq!(gets(&hub.asked().await, &layers(&image)), 0);
        all_released(&desk).await;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&desk.path("root").display().to_string()), "{mounts}");
    }
}
