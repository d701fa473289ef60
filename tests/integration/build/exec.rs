//! Commands that cannot be run, and what they are given that must end up nowhere.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use lazyblob::worker::llb::{self, Network, Secret, Security, Ssh};

use super::running::{is_clean, nothing_is_left};
use super::support::{build, built, can_run, define, shell_image, with_image};
use crate::support::{Desk, holds};

const SECRET: &str = "hunter2-9d1fe0c3aa";

/// A program on the desk.
fn script(desk: &Desk, name: &str, text: &str) -> String {
    let path = desk.file(name, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A runtime that is not there, or dies, is named with what it said; the next build works.
#[tokio::test]
async fn a_runtime_that_does_not_do_its_work() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(0)).await;
    let state = llb::image(&name).run(["/bin/sh", "-c", "echo made > /made"]).root();
    let told = "prints garbage";
    let programs = [
        ("/nonexistent/runtime".to_owned(), vec!["there is no runtime /nonexistent/runtime", "install it"]),
        (script(&desk, "fails", "echo no way >&2; exit 1"), vec!["fails", "ended with status 1", "no way"]),
        (script(&desk, "dies", "kill -9 $$"), vec!["dies", "was killed by signal 9"]),
        (
            script(&desk, "babbles", &format!("head -c 100000 /dev/urandom >&2; echo {told}; exit 0")),
            vec!["babbles", "ended without having run the command"],
        ),
        (script(&desk, "leaves", "exec busybox no-such-applet"), vec!["leaves"]),
    ];
    for (program, said) in programs {
        let ran = build(&desk, &state, &format!("--runtime {program}")).await.exits(1);
        for part in said {
            assert!(ran.stderr.contains(part), "{program}: no {part:?} in {}", ran.stderr);
        }
        let last = ran.stderr.lines().last().unwrap();
        assert!(last.len() < 10_000, "{program}: {last}");
        assert!(!ran.stderr.lines().last().unwrap().contains(char::is_control), "{}", ran.stderr);
        is_clean(&desk, None).await;
    }
    built(&desk, &state, "").await;
    is_clean(&desk, None).await;
}

/// Who is not root is told so, and builds what runs no command.
#[tokio::test]
async fn who_is_not_root_runs_no_command() {
    if !can_run() || !std::path::Path::new("/usr/bin/setpriv").exists() {
        eprintln!("skipped: root and setpriv are needed to be somebody else");
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(1)).await;
    for path in ["", "home", "docker"] {
        std::fs::create_dir_all(desk.path(path)).unwrap();
        std::os::unix::fs::chown(desk.path(path), Some(65534), Some(65534)).unwrap();
    }
    let program = desk.path("lazyblob");
    std::fs::copy(env!("CARGO_BIN_EXE_lazyblob"), &program).unwrap();
    let nobody = |state: &llb::State| {
        let definition = define(&desk, "nobody", state);
        let mut command = tokio::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(["--progress", "plain", "build", &definition]);
        command.env("LAZYBLOB_ROOT", desk.path("root")).env("HOME", desk.path("home"));
        command.current_dir(desk.path(""));
        command
    };
    let command = llb::image(&name).run(["/bin/true"]).root();
    let output = nobody(&command).output().await.unwrap();
    let ran = crate::support::Ran::of("build", output).exits(1);
    assert!(
        ran.stderr.contains("only root can run commands") && ran.stderr.contains("run this as root"),
        "{}",
        ran.stderr
    );
    let copied =
        llb::scratch().file(llb::Files::new().then(llb::Copy::new(&llb::image(&name), "/srv/0", "/x")));
    let output = nobody(&copied).output().await.unwrap();
    crate::support::Ran::of("build", output).exits(0);
    nothing_is_left(&desk, None);
}

/// A secret, text or not, is seen by the command alone: it is in no layer, key, record, trace, graph or message.
#[tokio::test]
async fn a_secret_ends_up_nowhere() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(0)).await;
    let mut binary = SECRET.as_bytes().to_vec();
    binary.extend([0, 0xff, 0xfe, b'\n', 0x80]);
    let outside = tempfile::TempDir::new().unwrap();
    let file = outside.path().join("secret");
    std::fs::write(&file, &binary).unwrap();
    let script = "test $(wc -c < /run/secrets/binary) = 23 && test $(wc -c < /run/secrets/text) = 18 && \
        test \"$TEXT\" = \"$(cat /run/secrets/text)\" && echo seen > /seen";
    let state = llb::image(&name)
        .run(["/bin/sh", "-c", script])
        .secret("/run/secrets/binary", Secret::new("binary"))
        .secret("/run/secrets/text", Secret::new("text"))
        .secret_env("TEXT", Secret::new("text"))
        .root();
    let definition = define(&desk, "secret", &state);
    let words = format!(
        "--progress json --stats --log debug --trace {trace} build --why --graph {graph} --metadata-file {meta} \
         -o type=oci,dest={oci} -o type=local,dest={local} --export-cache type=local,dest={cache},mode=max \
         --secret id=binary,src={file} --secret id=text,env=TOKEN {definition}",
        trace = desk.path("trace.json").display(),
        graph = desk.path("graph.json").display(),
        meta = desk.path("meta.json").display(),
        oci = desk.path("image.tar").display(),
        local = desk.path("local").display(),
        cache = desk.path("cache").display(),
        file = file.display(),
    );
    let mut command = desk.command(&words);
    command.env("TOKEN", SECRET);
    let ran = crate::support::Ran::of(&words, command.output().await.unwrap()).exits(0);
    assert!(desk.path("local/seen").exists() && desk.path("trace.json").exists());
    assert!(!desk.path("local/run").exists(), "mount points are no part of the layer");
    assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET), "{}", ran.stderr);
    assert!(!holds(&desk.path(""), SECRET));
    is_clean(&desk, None).await;

    // One that no variable can hold is named and not shown; so is one that nobody has.
    let in_variable = llb::image(&name).run(["/bin/true"]).secret_env("B", Secret::new("binary")).root();
    let ran =
        build(&desk, &in_variable, &format!("--secret id=binary,src={}", file.display())).await.exits(1);
    assert!(
        ran.stderr.contains("use secret binary") && ran.stderr.contains("mount it as a file"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains(SECRET));
    let ran = build(&desk, &in_variable, "").await.exits(1);
    assert!(ran.stderr.contains("add `--secret id=binary,src=FILE`"), "{}", ran.stderr);
    is_clean(&desk, None).await;
}

/// An agent's socket can be spoken to by the command, and is in no layer.
#[tokio::test]
async fn an_agent_is_there_for_the_command_alone() {
    if !can_run() {
        return;
    }
    let (desk, _registry, name) = with_image(&shell_image(0)).await;
    let socket = desk.path("agent.sock");
    let _agent = UnixListener::bind(&socket).unwrap();
    let script = "test -S \"$SSH_AUTH_SOCK\" && echo yes > /yes";
    let state = llb::image(&name).run(["/bin/sh", "-c", script]).ssh(Ssh::new("default")).root();
    let local = desk.path("local");
    let words = format!("--ssh default={} -o type=local,dest={}", socket.display(), local.display());
    built(&desk, &state, &words).await;
    let names: Vec<_> = std::fs::read_dir(&local).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name == "yes") && !names.iter().any(|name| name == "run"), "{names:?}");
    assert!(!holds(&desk.path("root"), "agent.sock"));
    let other = llb::image(&name).run(["/bin/sh", "-c", "echo other"]).ssh(Ssh::new("other")).root();
    let ran = build(&desk, &other, "").await.exits(1);
    assert!(ran.stderr.contains("add `--ssh other"), "{}", ran.stderr);
    is_clean(&desk, None).await;
}

/// What not every build may is refused before anything runs, with the word to add.
#[tokio::test]
async fn what_is_not_allowed_is_refused_before_anything_runs() {
    let (desk, registry, name) = with_image(&shell_image(0)).await;
    let image = llb::image(&name);
    let host = image.run(["/bin/true"]).network(Network::Host).root();
    let insecure = image.run(["/bin/true"]).security(Security::Insecure).root();
    registry.reset();
    for (state, word) in [(&host, "network.host"), (&insecure, "security.insecure")] {
        let ran = build(&desk, state, "").await.exits(1);
        assert!(ran.stderr.contains(&format!("add `--allow {word}`")), "{}", ran.stderr);
        assert_eq!(registry.lines(), [] as [String; 0]);
        if can_run() {
            built(&desk, state, &format!("--allow {word}")).await;
            registry.reset();
        }
    }
    is_clean(&desk, None).await;
}
