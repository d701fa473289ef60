//! `lazyblob mount` and `unmount`: a mount outlives its process, and what it shows is not pruned.

use lazyblob::remote::testing::{TestRegistry, not_run};

use crate::support::{Desk, image};

#[tokio::test]
async fn a_mount_outlives_its_process_and_is_respected() {
    if !rustix::process::geteuid().is_root() {
        return not_run("mount", "mounting takes root");
    }
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(2, "app")).await;
    let name = format!("{}/app:1", registry.host());
    desk.file("full/own", "x");
    desk.run(&format!("mount {name} full")).await.exits(1).says(&["full", "something in it", "empty one"]);
    assert!(desk.path("full/own").exists(), "nothing hides it");
    assert_eq!(desk.ok("mount").await.stdout, "");
    desk.ok(&format!("mount {name} at")).await;
    assert_eq!(std::fs::read_dir(desk.path("at/srv")).unwrap().count(), 2);
    assert!(std::fs::write(desk.path("at/new"), "x").is_err(), "for reading alone");
    let listed = desk.ok("mount --json").await.json();
    assert_eq!((listed[0]["state"].as_str(), listed[0]["mode"].as_str()), (Some("live"), Some("ro")));
    assert_eq!(listed[0]["reference"].as_str(), Some(&*name));
    let line = desk.ok("mount").await.stdout;
    assert_eq!(line.trim_end().split('\t').next_back(), Some(&*name), "{line}");

    desk.ok(&format!("rm {name}")).await;
    let pruned = desk.ok("prune --all --json").await.json();
    assert_eq!(pruned["snapshots"], 0, "{pruned}");
    assert_eq!(pruned["kept"]["mounts"], 1, "{pruned}");
    let run = desk.ok("prune --all").await;
    assert!(run.stderr.contains("1 mount keeps"), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(desk.path("at/srv")).unwrap().count(), 2);
    desk.ok("verify").await;
    desk.run(&format!("mount {name} at")).await.exits(1).says(&["unmount"]);

    desk.ok("unmount at").await;
    assert!(!desk.path("at").exists(), "it was made for the mount");
    desk.run("unmount at").await.exits(4);
    desk.ok(&format!("mount --rw {name} at")).await;
    std::fs::write(desk.path("at/new"), "x").unwrap();
    // By other means than ours.
    let at = desk.path("at");
    assert!(std::process::Command::new("umount").arg(&at).status().unwrap().success());
    let listed = desk.ok("mount").await;
    assert!(listed.stdout.contains("stale"), "{}", listed.stdout);
    desk.ok("unmount at").await;
    assert_eq!(desk.ok("mount").await.stdout, "");
}
