//! Archives.

use std::fs;
use std::process::{Command, Stdio};

use lazyblob_cache::testing::Tar;
use lazyblob_remote::testing::not_run;

use super::{FileActionCopy, Trees, copied, dockerfile, is_root, listed};

fn add(src: &str, dest: &str) -> FileActionCopy {
    FileActionCopy { attempt_unpack_docker_compatibility: true, ..dockerfile(src, dest) }
}

fn tar() -> Vec<u8> {
    Tar::new().dir("d", 0o755).file("d/f", "x").symlink("d/l", "f").whiteout("d/", "gone").end()
}

/// What `tar` compresses by calling a program.
fn compressed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let spawned = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        not_run(program, "there is no such program");
        return None;
    };
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    Some(child.wait_with_output().unwrap().stdout)
}

const UNPACKED: [&str; 5] = ["to/", "to/d/", "to/d/.wh.gone=", "to/d/f=x", "to/d/l->f"];

#[test]
fn archives_are_unpacked_whatever_they_are_called() {
    let trees = Trees::new(&["file=", "link->file"], &[]);
    fs::write(trees.from().join("file"), tar()).unwrap();
    assert_eq!(trees.after(add("/file", "/to")), UNPACKED);
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let Some(bytes) = compressed(program, &tar()) else { continue };
        for (src, dest) in [("/file", "/to"), ("/link", "/to/"), ("/fi*", "/to")] {
            let trees = Trees::new(&["link->file"], &[]);
            fs::write(trees.from().join("file"), &bytes).unwrap();
            assert_eq!(trees.after(add(src, dest)), UNPACKED, "{program} {src} {dest}");
        }
        // Without leave it is a file.
        fs::write(trees.from().join("file"), &bytes).unwrap();
        trees.act(copied("/file", "/whole"), None).unwrap();
        assert_eq!(fs::read(trees.to().join("whole")).unwrap(), bytes);
        // What is no archive is copied, compressed or not.
        let text = compressed(program, b"no archive").unwrap();
        fs::write(trees.from().join("file"), &text).unwrap();
        trees.act(add("/file", "/text"), None).unwrap();
        assert_eq!(fs::read(trees.to().join("text")).unwrap(), text, "{program}");
    }
    for (from, to) in [("file=", "g="), ("file=text", "g=text"), ("file=BZhello", "g=BZhello")] {
        assert_eq!(Trees::new(&[from], &[]).after(add("/file", "/g")), [to]);
    }
    assert_eq!(Trees::new(&["d/f=x"], &[]).after(add("/d", "/e")), ["e/", "e/f=x"]);
    let zeros = Trees::new(&[], &[]);
    fs::write(zeros.from().join("file"), [0; 1024]).unwrap();
    zeros.act(add("/file", "/g"), None).unwrap();
    assert_eq!(fs::read(zeros.to().join("g")).unwrap(), [0; 1024], "an archive of nothing is a file");
}

#[test]
fn archives_that_are_cut_short_are_errors() {
    let whole = Tar::new().file("f", vec![7; 200_000]).end();
    let trees = Trees::new(&[], &[]);
    fs::write(trees.from().join("file"), &whole[..100_000]).unwrap();
    trees.act(add("/file", "/to"), None).unwrap_err();
    for program in ["gzip", "xz"] {
        let noise: Vec<u8> =
            (0..200_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        let Some(bytes) = compressed(program, &Tar::new().file("f", noise).end()) else { continue };
        fs::write(trees.from().join("file"), &bytes[..bytes.len() / 2]).unwrap();
        trees.act(add("/file", "/to"), None).unwrap_err();
    }
}

/// Nothing of an archive goes out of the directory it is unpacked to, nor is anything removed by it.
#[test]
fn archives_do_not_lead_out() {
    let hostile = Tar::new()
        .symlink("out", "../../../outside")
        .file("out/secret", "lost")
        .symlink("abs", "/")
        .file("abs/inner", "x")
        .end();
    let trees = Trees::new(&[], &["to/kept=k"]);
    fs::write(trees.from().join("file"), &hostile).unwrap();
    let _ = trees.act(add("/file", "/to"), None);
    assert_eq!(trees.text("to/kept"), "k");
    let up = Tar::new().file("../up", "lost").end();
    fs::write(trees.from().join("file"), &up).unwrap();
    trees.act(add("/file", "/to"), None).unwrap_err();
    assert!(!trees.to().join("up").exists());
    // Whiteouts of a layer are files here.
    let trees = Trees::new(&[], &["to/d/gone=still"]);
    fs::write(trees.from().join("file"), tar()).unwrap();
    trees.act(add("/file", "/to"), None).unwrap();
    assert_eq!(trees.text("to/d/gone"), "still");
}

#[test]
fn what_is_unpacked_has_the_owner_that_is_said() {
    if !is_root("owners of files") {
        return;
    }
    for (owner, wanted) in [(None, (0, 0)), (Some((21, 22)), (21, 22))] {
        let trees = Trees::new(&[], &[]);
        fs::write(trees.from().join("file"), tar()).unwrap();
        trees.act(add("/file", "/to"), owner).unwrap();
        for name in ["to", "to/d", "to/d/f", "to/d/l"] {
            assert_eq!(trees.owner(name), wanted, "{name}");
        }
        assert_eq!(listed(&trees.to()), UNPACKED);
    }
}
