//! What is no definition, no cache and no directory to build from: refused by name, or passed by with a word.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use lazyblob::worker::llb::pb;
use lazyblob::worker::llb::{self, Copy, Files, Mkfile, Mount, State, host_platform};
use prost::Message as _;

use super::running::is_clean;
use super::support::{build, built, can_run, define, shell_image, with_image};
use crate::support::{Desk, Ran};

fn file() -> State {
    llb::scratch().file(Files::new().then(Mkfile::new("/new", 0o644, "new")))
}

async fn given(desk: &Desk, bytes: &[u8]) -> Ran {
    let path = desk.path("given.llb");
    std::fs::write(&path, bytes).unwrap();
    desk.run(&format!("--progress plain build {}", path.display())).await
}

/// Whatever is cut off, or was never one: exit code 1, one line, nothing begun.
#[tokio::test]
async fn what_is_no_definition_is_refused() {
    let desk = Desk::new();
    let whole = file().marshal(&host_platform());
    given(&desk, &whole).await.exits(0);
    let step = whole.len() / 12;
    for length in (0..whole.len()).step_by(step.max(1)) {
        let ran = given(&desk, &whole[..length]).await;
        // A protobuf that ends between two fields is a shorter one.
        let ran = ran.exits(1);
        assert!(ran.stderr.contains("definition"), "{length}: {}", ran.stderr);
        assert!(ran.stderr.lines().count() <= 2, "{length}: {}", ran.stderr);
    }
    let html = b"<!DOCTYPE html><html><body>404</body></html>".as_slice();
    for other in [html, b"FROM alpine\nRUN true\n", &[0xff; 4096], &[0; 64]] {
        let ran = given(&desk, other).await.exits(1).says(&["read definition: ", "given.llb", "LLB"]);
        assert!(!ran.stderr.contains('\u{fffd}'), "{}", ran.stderr);
    }
    let missing = desk.run("build /nonexistent/x.llb").await.exits(1);
    missing.says(&["read definition: /nonexistent/x.llb: No such file"]);
    desk.run_with_input("build", "").await.exits(1).says(&["read definition: standard input"]);
    is_clean(&desk, None).await;
}

/// Far too large: refused by its size, before it is taken apart.
#[tokio::test]
async fn what_is_far_too_large_is_not_taken() {
    let desk = Desk::new();
    let path = desk.path("large.llb");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let ran = desk.run(&format!("build {}", path.display())).await.exits(1);
    ran.says(&["bytes, at most", "are taken"]);
}

/// What is not built here is called by its name, and nothing is asked for or run.
#[tokio::test]
async fn what_is_not_supported_is_refused_before_anything_runs() {
    let (desk, registry, name) = with_image(&shell_image(0)).await;
    registry.reset();
    for (source, said) in [
        ("git://github.com/a/b.git", "git"),
        ("https://example.com/file.tar", "http"),
        ("nonsense://x", "nonsense"),
    ] {
        let base = llb::image(&name).marshal(&host_platform());
        let mut definition = pb::Definition::decode(&*base).unwrap();
        let mut source_op = pb::Op::decode(&definition.def[0]).unwrap();
        let Some(pb::Kind::Source(of)) = &mut source_op.kind else { panic!("{source_op:?}") };
        source.clone_into(&mut of.identifier);
        definition.def[0] = source_op.encode_to_vec();
        let last = definition.def.len() - 1;
        let digest = lazyblob::remote::digest::sha256(&definition.def[0]).to_string();
        let mut root = pb::Op::decode(&definition.def[last]).unwrap();
        for input in &mut root.inputs {
            digest.clone_into(&mut input.digest);
        }
        definition.def[last] = root.encode_to_vec();
        let ran = given(&desk, &definition.encode_to_vec()).await.exits(1);
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("#1"), "{source}: {}", ran.stderr);
    }
    assert_eq!(registry.lines(), [] as [String; 0]);
    is_clean(&desk, None).await;
}

/// A directory that is missing, or is none, or has what cannot be read or copied.
#[tokio::test]
async fn directories_that_are_odd() {
    let desk = Desk::new();
    let context = desk.path("context");
    std::fs::create_dir(&context).unwrap();
    let state = llb::scratch().file(Files::new().then(Copy::new(&llb::local("context"), "/", "/")));
    let ran = build(&desk, &state, "").await.exits(1);
    assert!(ran.stderr.contains("add `--local context=DIR`"), "{}", ran.stderr);
    let ran = build(&desk, &state, "--local context=/nonexistent/dir").await.exits(1);
    assert!(ran.stderr.contains("/nonexistent/dir: No such file"), "{}", ran.stderr);
    is_clean(&desk, None).await;

    let odd = std::ffi::OsStr::from_bytes(b"not \xff utf-8");
    std::fs::write(context.join(odd), "odd").unwrap();
    std::fs::write(context.join("with\nbreak"), "odd").unwrap();
    let _socket = UnixListener::bind(context.join("socket")).unwrap();
    std::os::unix::fs::symlink("../../../etc/passwd", context.join("link")).unwrap();
    let out = desk.path("out");
    let words = format!("--local context={} -o type=local,dest={}", context.display(), out.display());
    built(&desk, &state, &words).await;
    assert_eq!(std::fs::read_to_string(out.join(odd)).unwrap(), "odd");
    assert_eq!(std::fs::read_link(out.join("link")).unwrap(), std::path::Path::new("../../../etc/passwd"));
    assert!(!out.join("socket").exists());
    is_clean(&desk, None).await;

    // Root may read everything, but for what is no file.
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(context.join(odd), std::fs::Permissions::from_mode(0o0)).unwrap();
        let ran = build(&desk, &state, &words).await.exits(1);
        assert!(ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    }
}

/// A directory deeper than any path is long.
#[tokio::test]
async fn a_directory_that_is_very_deep() {
    let desk = Desk::new();
    let context = desk.path("context");
    std::fs::create_dir(&context).unwrap();
    let deep = std::process::Command::new("sh")
        .args([
            "-c",
            "i=0; while [ $i -lt 3000 ]; do mkdir d && cd -P d || exit 1; i=$((i+1)); done; echo end > end",
        ])
        .current_dir(&context)
        .status()
        .unwrap();
    let state = llb::scratch().file(Files::new().then(Copy::new(&llb::local("context"), "/", "/")));
    let ran = build(&desk, &state, &format!("--local context={}", context.display())).await;
    eprintln!("{deep}: {:?}", ran.stderr.lines().last());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    if ran.code == Some(1) {
        assert!(ran.stderr.contains("context"), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("overflow") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    is_clean(&desk, None).await;
    // What is as deep is not taken away by everyone.
    assert!(std::process::Command::new("rm").arg("-rf").arg(&context).status().unwrap().success());
}

/// What leads out of a tree does not lead out of it.
#[tokio::test]
async fn what_would_escape_stays_inside() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(1)).await;
    let outside = desk.file("outside/secret", "outside-a7c1");
    let image = llb::image(&name);
    let target = outside.parent().unwrap().display().to_string();
    let linked = image.run(["/bin/busybox", "ln", "-s", &target, "/link"]).root();
    // A link is one of the tree: what it names is looked for there.
    let copied = llb::scratch().file(Files::new().then(Copy::new(&linked, "/link/secret", "/got")));
    let ran = build(&desk, &copied, "").await.exits(1);
    assert!(ran.stderr.contains("/link/secret"), "{}", ran.stderr);
    let up = llb::scratch().file(Files::new().then(Copy::new(
        &linked,
        format!("../../..{target}/secret"),
        "/got",
    )));
    build(&desk, &up, "").await.exits(1);
    for (at, state) in [
        image.run(["/bin/cat", "/m/secret"]).mount("/m", Mount::bind(&linked).select("link")).root(),
        image
            .run(["/bin/cat", "/m/secret"])
            .mount("/m", Mount::bind(&linked).select("../../../../../tmp"))
            .root(),
        linked.run(["/bin/cat", "secret"]).cwd("/link").root(),
        linked.run(["/bin/cat", "/link/secret"]).mount("/link", Mount::bind(&image)).root(),
    ]
    .iter()
    .enumerate()
    {
        let ran = build(&desk, state, "").await;
        assert_eq!(ran.code, Some(1), "{at}: {ran:?}");
        assert!(!ran.stderr.contains("outside-a7c1"), "{at}: {}", ran.stderr);
        is_clean(&desk, None).await;
    }
    let names: Vec<_> = std::fs::read_dir(outside.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing was made outside");
    define(&desk, "kept", &image);
}
