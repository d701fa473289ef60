//! The command itself: ways of showing, files about the build, several outputs, and words that do not fit together.

use lazyblob::worker::llb::{self, Files, Mkfile, State, host_platform};
use serde_json::Value;

use super::running::is_clean;
use super::support::{all_cached, build, built, can_run, define, events, shell_image, with_image};
use crate::support::{Desk, Ran};

fn file(text: &str) -> State {
    llb::scratch().file(Files::new().then(Mkfile::new("/new", 0o644, text)))
}

/// The definition is a file or standard input; several outputs are made of one build, which are the same image.
#[tokio::test]
async fn several_outputs_of_what_comes_in_a_pipe() {
    let desk = Desk::new();
    let definition = file("new").marshal(&host_platform());
    let words = format!(
        "--progress json build -o type=oci,dest={} -o type=docker,name=app:1,dest={} -o type=local,dest={} \
         -o type=tar,dest={} --metadata-file {} --graph {} -",
        desk.path("oci.tar").display(),
        desk.path("docker.tar").display(),
        desk.path("local").display(),
        desk.path("files.tar").display(),
        desk.path("meta.json").display(),
        desk.path("graph.dot").display(),
    );
    let mut child = desk.command(&words).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, &definition).await.unwrap();
    drop(stdin);
    let ran = Ran::of(&words, child.wait_with_output().await.unwrap()).exits(0);
    let digests: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(digests.len(), 2, "one for each image: {}", ran.stdout);
    for name in ["oci.tar", "docker.tar", "files.tar", "local/new"] {
        assert!(desk.path(name).exists(), "{name}");
    }
    let meta: Value = serde_json::from_slice(&std::fs::read(desk.path("meta.json")).unwrap()).unwrap();
    assert!(digests.iter().any(|digest| meta["containerimage.digest"] == **digest), "{meta:#}");
    let dot = std::fs::read_to_string(desk.path("graph.dot")).unwrap();
    assert!(dot.starts_with("digraph build {") && dot.contains("mkfile /new"), "{dot}");
    is_clean(&desk, None).await;
}

/// Standard output is the image: its digest is in the metadata file, and nothing else is written there.
#[tokio::test]
async fn an_image_on_standard_output() {
    let desk = Desk::new();
    let definition = define(&desk, "a", &file("new"));
    let meta = desk.path("meta.json");
    let words =
        format!("--progress plain build -o type=oci,dest=- --metadata-file {} {definition}", meta.display());
    let output = desk.command(&words).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut names = Vec::new();
    for entry in tar::Archive::new(&*output.stdout).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    assert!(names.iter().any(|name| name == "index.json"), "{names:?}");
    let meta: Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
    let hex = meta["containerimage.digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert!(names.iter().any(|name| name.ends_with(hex)), "{names:?}");
    let words = format!("build -o type=oci,dest=- -o type=tar,dest=- {definition}");
    desk.run(&words).await.exits(2).says(&["only one output", "dest=FILE"]);
    let words = format!("build --export-cache type=inline -o type=tar,dest=x {definition}");
    desk.run(&words).await.exits(2).says(&["inline"]);
    is_clean(&desk, None).await;
}

/// Each way of showing a command that fails says what it wrote and how it ended, once.
#[tokio::test]
async fn a_command_that_fails_is_shown() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(0)).await;
    let script = "echo first; echo 'no such \u{1b}[31mthing' >&2; exit 3";
    let state = llb::image(&name).run(["/bin/sh", "-c", script]).root().named("compile the thing");
    let definition = define(&desk, "fails", &state);
    for mode in ["auto", "plain", "tty", "quiet", "json"] {
        let ran = desk.run(&format!("--progress {mode} build {definition}")).await.exits(1);
        let last = ran.stderr.lines().last().unwrap();
        assert!(
            last.contains("compile the thing: the command did not succeed: exit code 3"),
            "{mode}: {last}"
        );
        assert!(!last.contains("sha256:"), "{mode}: {last}");
        if mode != "json" {
            assert!(ran.stderr.contains("first\n"), "{mode}: {}", ran.stderr);
        }
        assert_eq!(ran.stdout, "");
    }
    let ran = desk.run(&format!("--progress plain build {definition}")).await.exits(1);
    let errors: Vec<_> = ran.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{}", ran.stderr);
    assert!(errors[0].starts_with('#') && !errors[0].contains("sha256:"), "{}", errors[0]);
    is_clean(&desk, None).await;
}

/// Nothing is written where all is well and nobody wants to see it.
#[tokio::test]
async fn silence_is_silent() {
    let desk = Desk::new();
    let definition = define(&desk, "a", &file("new"));
    let ran = desk.ok(&format!("--progress quiet build {definition}")).await;
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
}

/// `--no-cache` runs everything, `--why` says why things ran, `--json` is one document.
#[tokio::test]
async fn what_ran_and_why() {
    let desk = Desk::new();
    let state = file("one");
    built(&desk, &state, "").await;
    all_cached(&built(&desk, &state, "").await);
    let again = built(&desk, &state, "--no-cache --why").await;
    assert!(events(&again).iter().any(|event| event["state"] == "completed"), "{}", again.stderr);
    assert!(
        again.stderr.contains("why: mkfile /new") && again.stderr.contains("ignored"),
        "{}",
        again.stderr
    );
    let graph = desk.path("graph.json");
    let definition = define(&desk, "a", &state);
    let out = desk.path("out.tar");
    let words =
        format!("--json build --graph {} -o type=oci,dest={} {definition}", graph.display(), out.display());
    let ran = desk.ok(&words).await;
    assert!(ran.json()["containerimage.digest"].as_str().unwrap().starts_with("sha256:"));
    let graph: Value = serde_json::from_slice(&std::fs::read(graph).unwrap()).unwrap();
    assert!(graph.to_string().contains("mkfile /new"), "{graph:#}");
    is_clean(&desk, None).await;
}

/// Without a network nothing is asked for; what is here is built from.
#[tokio::test]
async fn offline_asks_nobody() {
    let (desk, registry, name) = with_image(&shell_image(1)).await;
    built(&desk, &file("x"), "--offline").await;
    registry.reset();
    let ran = build(&desk, &llb::image(&name), "--offline").await.exits(1);
    assert!(ran.stderr.contains("--offline"), "{}", ran.stderr);
    assert_eq!(registry.lines(), [] as [String; 0]);
}

/// An image that is not there is not found: exit code 4, and it is named.
#[tokio::test]
async fn an_image_that_is_not_there() {
    let (desk, registry, _) = with_image(&shell_image(0)).await;
    let missing = format!("{}/app:none", registry.host());
    let ran = build(&desk, &llb::image(&missing), "").await.exits(4);
    assert!(ran.stderr.contains(&missing) && ran.stderr.contains("not found"), "{}", ran.stderr);
    is_clean(&desk, None).await;
}

/// Several platforms make an index of several images.
#[tokio::test]
async fn several_platforms() {
    let desk = Desk::new();
    let definition = define(&desk, "a", &file("new"));
    let out = desk.path("out.tar");
    let words =
        format!("build --platform linux/amd64,linux/arm64 -o type=oci,dest={} {definition}", out.display());
    let digest = desk.ok(&words).await.digest();
    let shown = desk.ok(&format!("inspect {}@{digest}", desk.at("oci-archive", "out.tar"))).await.stdout;
    assert!(shown.contains("amd64") && shown.contains("arm64"), "{shown}");
    desk.run(&format!("build --platform nonsense/x/y/z {definition}")).await.exits(2);
    is_clean(&desk, None).await;
}
