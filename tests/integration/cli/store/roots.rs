//! Roots that are not as they should be.

use std::os::unix::fs::{PermissionsExt as _, chown};

use super::support::with_app;
use crate::support::{Desk, Ran};

async fn ls(desk: &Desk, root: &str) -> Ran {
    desk.run(&format!("--root {} ls", desk.path(root).display())).await
}

/// Makes a root by a command that does more than to look.
async fn make(desk: &Desk, root: &str) -> Ran {
    desk.run(&format!("--root {} prune", desk.path(root).display())).await
}

#[tokio::test]
async fn who_only_looks_makes_no_root() {
    let desk = Desk::new();
    let run = ls(&desk, "root").await.exits(0);
    assert!(run.stdout.is_empty() && run.stderr.contains("there is no cache at"), "{run:?}");
    assert_eq!(desk.ok("--json ls").await.stdout, "[]\n");
    assert!(desk.ok("du").await.stdout.starts_with("blobs\t0 B\n"));
    desk.run("inspect store:h.test/app:1").await.exits(4).says(&["h.test/app:1", "no cache"]);
    assert!(!desk.path("root").exists());
}

#[tokio::test]
async fn what_is_no_root_is_said_to_be_none() {
    let desk = Desk::new();
    desk.file("file", "x");
    ls(&desk, "file").await.exits(1).says(&["not a directory", "file"]);
    ls(&desk, "file/below").await.exits(1).says(&["not a directory"]);
    desk.file("full/something", "x");
    ls(&desk, "full").await.exits(1).says(&["not empty", "full"]);
    assert_eq!(std::fs::read_dir(desk.path("full")).unwrap().count(), 1, "and nothing was put there");
    // What needs no cache does not look at it.
    let root = desk.path("file").display().to_string();
    desk.ok(&format!("--root {root} version")).await;
    desk.run("--root").await.exits(2);
}

#[tokio::test]
async fn a_root_is_made_for_its_owner_alone_and_where_it_is_asked_for() {
    let desk = Desk::new();
    make(&desk, "a/b/c").await.exits(0);
    let mode = std::fs::metadata(desk.path("a/b/c")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!desk.path("root").exists(), "the option goes before the environment");
    let run = desk.run_into("prune", |command| {
        command.env("LAZYBLOB_ROOT", desk.path("elsewhere"));
    });
    run.await.exits(0);
    assert!(desk.path("elsewhere/version").exists());
}

#[tokio::test]
async fn a_newer_root_is_left_alone() {
    let desk = Desk::new();
    make(&desk, "root").await.exits(0);
    std::fs::write(desk.path("root/version"), "2\n").unwrap();
    ls(&desk, "root").await.exits(1).says(&["version 2", "use a newer one"]);
    std::fs::write(desk.path("root/version"), "soon\n").unwrap();
    ls(&desk, "root").await.exits(1).says(&["version"]);
}

#[tokio::test]
async fn somebody_elses_root_is_left_alone() {
    let desk = Desk::new();
    make(&desk, "root").await.exits(0);
    // Only root can give a file away.
    if chown(desk.path("root"), Some(12345), None).is_err() {
        return;
    }
    ls(&desk, "root").await.exits(1).says(&["belongs to user 12345"]);
}

#[tokio::test]
async fn a_root_that_cannot_be_written_is_said_to_be_so() {
    let desk = Desk::new();
    make(&desk, "root").await.exits(0);
    // In a mount namespace of its own, where root may make one.
    let root = desk.path("root").display().to_string();
    let script = format!(
        "mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec {} --root {root} ls || exit 99",
        env!("CARGO_BIN_EXE_lazyblob")
    );
    let unshare = tokio::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output().await;
    let Ok(output) = unshare else { return };
    if matches!(output.status.code(), Some(99)) || String::from_utf8_lossy(&output.stderr).contains("unshare")
    {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    Ran::of("ls", output).exits(1).says(&["read-only file system", &root]);
}

#[tokio::test]
async fn each_engine_and_each_kind_of_snapshots_works() {
    for words in ["--metadata redb", "--metadata sled --snapshotter plain"] {
        let (desk, registry, image) = with_app(2).await;
        let app = format!("{}/app:1", registry.host());
        desk.ok(&format!("{words} pull {app}")).await;
        let run = desk.ok(&format!("{words} pull --unpack {app}")).await;
        assert_eq!(run.digest(), image.manifest.digest().to_string());
        let text = desk.ok(&format!("{words} inspect store:{app}")).await.stdout;
        assert_eq!(text.matches(", unpacked").count(), 2, "{text}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_said_and_made_anew() {
    let (desk, registry, _) = with_app(2).await;
    let app = format!("{}/app", registry.host());
    desk.ok(&format!("pull {app}:1")).await;
    std::fs::remove_dir_all(desk.path("root/meta")).unwrap();
    let run = desk.ok("ls").await;
    assert!(run.stderr.contains("a new database"), "{}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 1);
    // What the hints say is still known.
    registry.reset();
    desk.ok(&format!("push {app}:1 {app}:2")).await;
    assert_eq!(registry.counter().total(), 2, "{:#?}", registry.lines());
    assert!(!desk.ok("ls").await.stderr.contains("database"), "it is said once");
}
