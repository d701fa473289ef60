//! Ctrl-C and its like, wherever they come: an end that comes soon, and nothing left.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};
use lazyblob::worker::llb::{self, Copy, Files, Mkfile, State};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::running::{Running, is_clean, nothing_is_left};
use super::support::{built, can_run, image_of, plain_image, shell_image, tar_of, with_image};
use crate::support::{Desk, signal};

/// What a command does that wants to stay: it and its children take no signal, one of them in a session of its own.
const STUBBORN: &str = "trap '' INT TERM HUP; (trap '' INT TERM HUP; sleep 9999) & \
    (trap '' INT TERM HUP; busybox setsid sleep 9999) & echo under way; sleep 9999";

fn stubborn(name: &str) -> State {
    llb::image(name).run(["/bin/sh", "-c", STUBBORN]).root()
}

fn acts(action: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["type"] == "progress" && event["action"] == action
}

/// Bytes that do not get shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

/// Sends a signal and expects its exit code, one line that says so, and that nothing is left.
async fn ends(desk: &Desk, running: Running, name: &str) {
    let code = match name {
        "HUP" => 129,
        "INT" => 130,
        _ => 143,
    };
    let pid = running.pid;
    signal(&running.child, name);
    let ran = running.end().await.exits(code);
    let last: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert!(ran.stderr.contains(r#""message":"interrupted""#), "{}", ran.stderr);
    assert_ne!(last["type"], "vertex", "nothing is told after the end: {}", ran.stderr);
    assert_eq!(ran.stdout, "");
    is_clean(desk, Some(pid)).await;
}

/// In a command: it and all that it began are killed, whatever they think of signals.
#[tokio::test]
async fn a_command_ends_with_all_its_children() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(1)).await;
    for signal_name in ["INT", "TERM", "HUP"] {
        let mut running = Running::start(&desk, &stubborn(&name), "");
        running.until_written("under way").await;
        ends(&desk, running, signal_name).await;
    }
    // Who is impatient does no harm.
    let mut running = Running::start(&desk, &stubborn(&name), "");
    running.until_written("under way").await;
    let pid = running.pid;
    for _ in 0..3 {
        signal(&running.child, "INT");
    }
    running.end().await.exits(130);
    is_clean(&desk, Some(pid)).await;
    // Nor does who is out of time.
    let mut running = Running::start(&desk, &stubborn(&name), "--timeout 5s");
    running.until_written("under way").await;
    let pid = running.pid;
    let ran = running.end().await.exits(1);
    assert!(ran.stderr.contains("--timeout"), "{}", ran.stderr);
    is_clean(&desk, Some(pid)).await;
    built(&desk, &llb::image(&name).run(["/bin/true"]).root(), "").await;
    is_clean(&desk, None).await;
}

/// SIGKILL leaves what nobody could take away; the next build does, even one that runs nothing.
#[tokio::test]
async fn what_a_killed_build_leaves_the_next_one_takes_away() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(1)).await;
    let file = llb::scratch().file(Files::new().then(Mkfile::new("/new", 0o644, "new")));
    for next in [file, llb::image(&name).run(["/bin/sh", "-c", "echo made > /made"]).root()] {
        let mut running = Running::start(&desk, &stubborn(&name), "");
        running.until_written("under way").await;
        let pid = running.pid;
        signal(&running.child, "KILL");
        assert_eq!(running.child.wait().await.unwrap().signal(), Some(9));
        // What is told in the meantime is still in the pipe: a container holds it.
        drop(running);
        built(&desk, &next, "").await;
        // What the dead one pinned is looked at by who would remove it.
        desk.ok("prune --dry-run").await;
        is_clean(&desk, Some(pid)).await;
    }
}

#[tokio::test]
async fn an_image_that_is_asked_for_or_pulled() {
    if !can_run() {
        return;
    }
    let (desk, registry, name) = with_image(&shell_image(2)).await;
    let state = llb::image(&name).run(["/bin/true"]).root();

    registry.add(Toxic::new(Effect::Hang).on(Kind::ManifestGet));
    let mut running = Running::start(&desk, &state, "");
    running.until(acts("resolving")).await;
    ends(&desk, running, "INT").await;
    registry.behave();

    let slow = Effect::Slow { piece: 512, pause: Duration::from_millis(50) };
    registry.add(Toxic::new(slow).on(Kind::BlobGet));
    let mut running = Running::start(&desk, &state, "");
    let comes = |event: &Value| acts("downloading")(event) && event["current"].as_u64() > Some(0);
    running.until(comes).await;
    ends(&desk, running, "TERM").await;
    registry.behave();
    built(&desk, &state, "").await;
    is_clean(&desk, None).await;
}

#[tokio::test]
async fn a_layer_that_is_unpacked() {
    let files: Vec<_> = (0..8_000).map(|at| format!("srv/{at}")).collect();
    let mut entries = vec![("srv/", b"" as &[u8])];
    entries.extend(files.iter().map(|file| (&**file, b"x" as &[u8])));
    let image = image_of(&[tar_of(&entries)]);
    let (desk, _registry, name) = with_image(&image).await;
    let state = llb::image(&name).file(Files::new().then(Mkfile::new("/new", 0o644, "new")));
    let copied = llb::scratch().file(Files::new().then(Copy::new(&state, "/srv/1", "/one")));
    let mut running = Running::start(&desk, &copied, "");
    // It has come, and is written out file by file.
    let layer = image.manifest.layers()[0].digest().to_string();
    running.until(|event| acts("done")(event) && event["id"] == *layer).await;
    ends(&desk, running, "INT").await;
    built(&desk, &copied, "").await;
    is_clean(&desk, None).await;
}

#[tokio::test]
async fn a_directory_that_is_read() {
    let desk = Desk::new();
    let context = desk.path("context");
    std::fs::create_dir(&context).unwrap();
    // Far more than is read until the signal comes; on the disk it is nothing.
    let large = std::fs::File::create(context.join("large")).unwrap();
    large.set_len(1 << 40).unwrap();
    let state = llb::scratch().file(Files::new().then(Copy::new(&llb::local("context"), "/", "/")));
    let words = format!("--local context={}", context.display());
    let mut running = Running::start(&desk, &state, &words);
    running.until(|event| acts("transferring")(event) && event["current"].as_u64() > Some(0)).await;
    ends(&desk, running, "INT").await;
    large.set_len(10).unwrap();
    built(&desk, &state, &words).await;
    is_clean(&desk, None).await;
}

#[tokio::test]
async fn a_push() {
    let desk = Desk::new();
    let registry = TestRegistry::start().await;
    let noise: String = noise(1 << 20).iter().map(|byte| char::from(byte & 0x7f)).collect();
    let state = llb::scratch().file(Files::new().then(Mkfile::new("/noise", 0o644, noise)));
    let slow = Effect::SlowRequest { piece: 512, pause: Duration::from_millis(50) };
    registry.add(Toxic::new(slow).on(Kind::Upload));
    let words = format!("-o type=image,name={}/app:1,push=true", registry.host());
    let mut running = Running::start(&desk, &state, &words);
    running.until(|event| event["state"] == "uploading" && event["position"].as_u64() > Some(0)).await;
    ends(&desk, running, "TERM").await;
    assert_eq!(registry.requests(Kind::ManifestPut), 0);
    registry.behave();
    built(&desk, &state, &words).await;
    is_clean(&desk, None).await;
}

/// Output that nobody takes, and a reader that goes.
#[tokio::test]
async fn a_tar_to_standard_output() {
    let desk = Desk::new();
    let noise: String = noise(1 << 20).iter().map(|byte| char::from(byte & 0x7f)).collect();
    let state = llb::scratch().file(Files::new().then(Mkfile::new("/noise", 0o644, noise)));
    for kind in ["tar", "oci", "docker"] {
        let name = if kind == "docker" { ",name=app" } else { "" };
        let words = format!("-o type={kind},dest=-{name}");
        for is_closed in [false, true] {
            let mut running = Running::start(&desk, &state, &words);
            let mut stdout = running.child.stdout.take().unwrap();
            stdout.read_exact(&mut [0; 1000]).await.unwrap();
            let pid = running.pid;
            if is_closed {
                drop(stdout);
                let ran = running.end().await.exits(0);
                assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
                nothing_is_left(&desk, Some(pid));
            } else {
                ends(&desk, running, "INT").await;
                drop(stdout);
            }
        }
    }
}

/// A file is begun under another name.
#[tokio::test]
async fn an_output_that_is_written() {
    let (desk, registry, name) = with_image(&plain_image(3)).await;
    for output in ["type=oci,dest=", "type=docker,name=app,dest=", "type=tar,dest=", "type=local,dest="] {
        registry.behave();
        let slow = Effect::Slow { piece: 1, pause: Duration::from_millis(200) };
        registry.add(Toxic::new(slow).on(Kind::BlobGet));
        let desk = Desk::new();
        let target = desk.path("target");
        let mut running =
            Running::start(&desk, &llb::image(&name), &format!("-o {output}{}", target.display()));
        let comes = |event: &Value| ["state", "action"].iter().any(|key| event[*key] == "downloading");
        running.until(comes).await;
        ends(&desk, running, "INT").await;
        let left: Vec<_> =
            std::fs::read_dir(desk.path("")).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "root" || name == "running.llb"), "{output}: {left:?}");
    }
    drop(desk);
}
