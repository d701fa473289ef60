//! Running other people's tools.

use tokio::process::Command;

use super::Desk;

/// Runs a program that must succeed and returns its standard output.
pub(crate) async fn peer(desk: &Desk, program: &str, words: &str) -> String {
    let mut command = Command::new(program);
    command.args(words.split_whitespace()).current_dir(desk.path("")).env("HOME", desk.path("home"));
    let output = command.kill_on_drop(true).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// skopeo, on plain HTTP, with its work files on the desk.
pub(crate) async fn skopeo(desk: &Desk, words: &str) -> String {
    let work = desk.path("skopeo");
    std::fs::create_dir_all(&work).unwrap();
    peer(desk, "skopeo", &format!("--tmpdir {} --insecure-policy {words}", work.display())).await
}
