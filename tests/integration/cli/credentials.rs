//! Logging in and out, and credentials from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use lazyblob::remote::server::{Anonymous, Htpasswd};
use lazyblob::remote::testing::TestRegistry;
use serde_json::Value;

use crate::support::{Desk, PASSWORD, USER, htpasswd, image};

/// A registry that knows one user, with one image.
async fn guarded() -> TestRegistry {
    let users = Htpasswd::parse(&htpasswd(), Anonymous::Nothing, "the test").unwrap();
    let registry = TestRegistry::builder().guarded_by(Arc::new(users)).start().await;
    registry.seed("app", "1", &image(1, "app")).await;
    registry
}

#[tokio::test]
async fn a_login_is_kept_only_if_the_registry_takes_it() {
    let (desk, registry) = (Desk::new(), guarded().await);
    let host = registry.host();
    let login = format!("login {host} --username {USER}");
    let refused = desk.run_with_input(&login, "wrong-word\n").await.exits(3);
    assert!(!refused.stderr.contains("wrong-word"), "{}", refused.stderr);
    assert!(!desk.path("docker").exists());
    desk.run_with_input(&login, "").await.exits(2);
    desk.run(&format!("inspect {host}/app:1")).await.exits(3);

    let run = desk.run_with_input(&login, &format!("{PASSWORD}\n")).await.exits(0);
    assert!(!run.stderr.contains(PASSWORD) && run.stdout.is_empty(), "{run:?}");
    let config = desk.path("docker/config.json");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert!(kept["auths"][host]["auth"].is_string(), "{kept}");
    desk.ok(&format!("retag {host}/app:1 :2")).await;

    let out = desk.ok(&format!("--json logout {host}")).await.json();
    assert_eq!(out["removed"], true);
    desk.run(&format!("inspect {host}/app:1")).await.exits(3);
    let out = desk.ok(&format!("--json logout {host}")).await.json();
    assert_eq!(out["removed"], false);
}

#[tokio::test]
async fn what_others_keep_in_the_file_stays() {
    let (desk, registry) = (Desk::new(), guarded().await);
    let before =
        r#"{"auths": {"other.test": {"auth": "YTpi"}}, "currentContext": "x", "plugins": {"y": {}}}"#;
    let config = desk.file("docker/config.json", before);
    let host = registry.host();
    let login = format!("login {host} --username {USER}");
    desk.run_with_input(&login, &format!("{PASSWORD}\n")).await.exits(0);
    desk.ok(&format!("logout {host}")).await;
    let after: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(after, serde_json::from_str::<Value>(before).unwrap());

    // A file that cannot be read is said to be broken, and is not replaced.
    desk.file("docker/config.json", "{ not json");
    desk.run_with_input(&login, &format!("{PASSWORD}\n")).await.exits(1).says(&["config.json"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), "{ not json");
}

#[tokio::test]
async fn passwords_come_from_files_and_standard_input() {
    let (desk, one, two) = (Desk::new(), guarded().await, guarded().await);
    let (first, second) = (one.host(), two.host());
    let file = desk.file("password", &format!("{PASSWORD}\r\n")).display().to_string();
    let words = format!(
        "copy {first}/app:1 {second}/app:2 --creds {first}={USER} --password-file {first}={file} \
         --creds {second}={USER} --password-stdin"
    );
    desk.run_with_input(&words, &format!("{PASSWORD}\n")).await.exits(0).digest();
    // One standard input is one password.
    let twice = format!("copy {first}/app:1 {second}/app:2 --password-stdin");
    let twice = format!("{twice} --creds {first}={USER} --creds {second}={USER}");
    desk.run_with_input(&twice, &format!("{PASSWORD}\n")).await.exits(2).says(&["--password-file"]);
    let absent = desk.path("absent").display().to_string();
    let words = format!("tags {first}/app --creds {first}={USER} --password-file {first}={absent}");
    desk.run(&words).await.exits(1).says(&["absent"]);
    // Nothing of it was kept.
    assert!(!desk.path("docker").exists() && !desk.path("home").exists());
}

#[tokio::test]
async fn credentials_go_to_their_host_alone() {
    let (desk, guarded, open) = (Desk::new(), guarded().await, TestRegistry::start().await);
    let (host, other) = (guarded.host(), open.host());
    let file = desk.file("password", PASSWORD).display().to_string();
    let login = format!("--creds {host}={USER} --password-file {host}={file}");
    desk.ok(&format!("{login} copy {host}/app:1 {other}/app:1")).await;
    assert!(!open.log().is_empty());
    for entry in open.log() {
        assert!(!entry.authorized, "{entry:?}");
    }
    // Not even where that host asks for them.
    let stranger = self::guarded().await;
    desk.run(&format!("{login} inspect {}/app:1", stranger.host())).await.exits(3);
    assert!(stranger.log().iter().all(|entry| !entry.authorized));
}

/// Puts a credential helper on the desk and docker's word for it; returns the PATH to it.
fn helper(desk: &Desk, host: &str, script: &str) -> std::ffi::OsString {
    let path = desk.file("bin/docker-credential-desk", &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    desk.file("docker/config.json", &format!(r#"{{"credHelpers": {{"{host}": "desk"}}}}"#));
    let mut directories = vec![desk.path("bin")];
    directories.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    std::env::join_paths(directories).unwrap()
}

#[tokio::test]
async fn a_helper_is_asked_once_and_one_that_hangs_does_not_hold_the_end_up() {
    let (desk, registry) = (Desk::new(), guarded().await);
    let host = registry.host();
    let asked = desk.path("asked");
    let answer = format!(r#"{{"ServerURL":"x","Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    let path =
        helper(&desk, host, &format!("echo $1 >> {}; cat > /dev/null; echo '{answer}'", asked.display()));
    let words = format!("retag {host}/app:1 :2 :3");
    let output = desk.command(&words).env("PATH", &path).output().await.unwrap();
    crate::support::Ran::of(&words, output).exits(0).digest();
    assert_eq!(fs::read_to_string(&asked).unwrap(), "get\n");

    let path = helper(&desk, host, "echo some-secret-word; exec sleep 600");
    let words = format!("--timeout 500ms inspect {host}/app:1");
    let run = desk.command(&words).env("PATH", &path).output();
    let output = tokio::time::timeout(Duration::from_secs(8), run).await.expect("it ends soon").unwrap();
    let run = crate::support::Ran::of(&words, output).exits(1);
    assert!(!run.stderr.contains("some-secret-word"), "{}", run.stderr);
    run.says(&["--timeout"]);

    let path = helper(&desk, host, "echo 'the vault is locked' >&2; exit 3");
    let output = desk.command(&words).env("PATH", &path).output().await.unwrap();
    crate::support::Ran::of(&words, output).exits(3).says(&["docker-credential-desk", "the vault is locked"]);
}
