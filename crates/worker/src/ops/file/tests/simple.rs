//! Directories, files and links made, and things removed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::{FileActionMkDir, FileActionMkFile, FileActionSymlink, Trees, is_root, link, mkdir, mkfile, rm};

#[test]
fn directories_are_made() {
    for (to, made, wanted) in [
        (&[][..], mkdir("/d", 0o755, false), &["d/"][..]),
        (&[], mkdir("d/", 0o755, false), &["d/"]),
        (&[], mkdir("/a/b/c", 0o755, true), &["a/", "a/b/", "a/b/c/"]),
        (&["a/"], mkdir("/a/b", 0o755, false), &["a/", "a/b/"]),
        (&["d/f=x"], mkdir("/d", 0o700, true), &["d/", "d/f=x"]),
        (&["d/f=x"], mkdir("/d", 0o700, false), &["d/", "d/f=x"]),
        (&["f=x"], mkdir("/f", 0o755, false), &["f=x"]),
        (&["l->d", "d/"], mkdir("/l/e", 0o755, false), &["d/", "d/e/", "l->d"]),
        (&["l->d"], mkdir("/l", 0o755, false), &["d/", "l->d"]),
        (&["l->a/b"], mkdir("/l/c", 0o755, true), &["a/", "a/b/", "a/b/c/", "l->a/b"]),
        (&[], mkdir("/", 0o755, false), &[]),
        (&[], mkdir("/", 0o755, true), &[]),
    ] {
        let case = format!("{made:?}");
        assert_eq!(Trees::new(&[], to).after(made), wanted, "{case}");
    }
    for (to, made, said) in [
        (&[][..], mkdir("/a/b", 0o755, false), "make directory /a/b: /a/b: No such file or directory"),
        (&["f=x"], mkdir("/f", 0o755, true), "/f: Not a directory"),
        (&["f=x"], mkdir("/f/g", 0o755, true), "/f/g: Not a directory"),
        (&["l->l"], mkdir("/l/g", 0o755, true), "Too many levels"),
    ] {
        let after = Trees::new(&[], to).after(made);
        assert!(after[0].contains(said), "{after:?}");
    }
}

/// What the umask says does not count.
#[test]
fn modes_and_times_are_those_that_were_asked_for() {
    let trees = Trees::new(&[], &["there/"]);
    let time = 1_234_567_890_123_456_789;
    trees.act(FileActionMkDir { timestamp: time, ..mkdir("/there/a/b", 0o1777, true) }, None).unwrap();
    assert_eq!([trees.mode("there/a"), trees.mode("there/a/b")], [0o1777, 0o1777]);
    assert_eq!([trees.mtime("there/a"), trees.mtime("there/a/b")], [(1_234_567_890, 123_456_789); 2]);
    assert_ne!(trees.mtime("there").0, 1_234_567_890);
    trees.act(FileActionMkFile { timestamp: 0, ..mkfile("/f", 0o666, "x") }, None).unwrap();
    assert_eq!((trees.mode("f"), trees.mtime("f")), (0o666, (0, 0)));
    trees.act(FileActionMkFile { timestamp: -1_500_000_000, ..mkfile("/g", 0o4711, "x") }, None).unwrap();
    assert_eq!((trees.mode("g"), trees.mtime("g")), (0o4711, (-2, 500_000_000)));
    trees.act(FileActionSymlink { timestamp: time, ..link("f", "/l") }, None).unwrap();
    assert_eq!((trees.mtime("l"), trees.mtime("f")), ((1_234_567_890, 123_456_789), (0, 0)));
}

#[test]
fn files_are_made_in_place_of_what_is_there() {
    for (to, made, wanted) in [
        (&[][..], mkfile("/f", 0o644, "x"), &["f=x"][..]),
        (&[], mkfile("f", 0o644, ""), &["f="]),
        (&["f=a longer text"], mkfile("/f", 0o644, "x"), &["f=x"]),
        (&["l->f", "f=old"], mkfile("/l", 0o644, "x"), &["f=x", "l->f"]),
        (&["l->d/f", "d/"], mkfile("/l", 0o644, "x"), &["d/", "d/f=x", "l->d/f"]),
        (&["l->/d", "d/"], mkfile("/l/f", 0o644, "x"), &["d/", "d/f=x", "l->/d"]),
    ] {
        assert_eq!(Trees::new(&[], to).after(made), wanted);
    }
    for (to, path, said) in [
        (&[][..], "/a/f", "make file /a/f: /a/f: No such file or directory"),
        (&["d/"], "/d", "/d: Is a directory"),
        (&[], "/", "/: Is a directory"),
        (&["g=y"], "/g/f", "Not a directory"),
        (&["l->gone/f"], "/l", "No such file or directory"),
    ] {
        let after = Trees::new(&[], to).after(mkfile(path, 0o644, "x"));
        assert!(after[0].contains(said), "{after:?}");
    }
    // Another name of the file keeps what it had, and a mode is not that of the file before.
    let trees = Trees::new(&[], &["f=old"]);
    fs::hard_link(trees.to().join("f"), trees.to().join("g")).unwrap();
    trees.act(mkfile("/f", 0o600, "new"), None).unwrap();
    assert_eq!((trees.text("f"), trees.text("g"), trees.mode("f")), ("new".into(), "old".into(), 0o600));
}

/// What is opened could do things: a pipe would wait for ever.
#[test]
fn pipes_are_replaced_and_not_opened() {
    let trees = Trees::new(&[], &[]);
    let at = rustix::fs::CWD;
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(at, trees.to().join("p"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(trees.after(mkfile("/p", 0o644, "x")), ["p=x"]);
}

#[test]
fn links_are_made() {
    for (to, made, wanted) in [
        (&[][..], link("/target", "/l"), &["l->/target"][..]),
        (&[], link("../../x", "/l"), &["l->../../x"]),
        (&["d/"], link("x", "/d/l"), &["d/", "d/l->x"]),
        (&["k->d", "d/"], link("x", "/k/l"), &["d/", "d/l->x", "k->d"]),
        (&["k->m"], link("x", "/k"), &["k->m", "m->x"]),
    ] {
        assert_eq!(Trees::new(&[], to).after(made), wanted);
    }
    for (to, made, said) in [
        (&["f=x"][..], link("x", "/f"), "make symbolic link /f: /f: File exists"),
        (&[], link("x", "/d/l"), "No such file or directory"),
        (&[], link("", "/l"), "/l: a link to nothing cannot be made"),
        (&[], link("x", "/"), "File exists"),
    ] {
        let after = Trees::new(&[], to).after(made);
        assert!(after[0].contains(said), "{after:?}");
    }
}

#[test]
fn things_are_removed() {
    let to = &["f=x", "d/a/b=y", "d/c=z", "l->d", "dangling->no", "x.txt=1", "y.txt=2"];
    let left = |gone: &[&str]| -> Vec<String> {
        let all = ["d/", "d/a/", "d/a/b=y", "d/c=z", "dangling->no", "f=x", "l->d", "x.txt=1", "y.txt=2"];
        all.iter().filter(|name| !gone.contains(*name)).map(|&name| name.to_owned()).collect()
    };
    for (removed, gone) in [
        (rm("/f", false, false), &["f=x"][..]),
        (rm("f", false, false), &["f=x"]),
        (rm("/d", false, false), &["d/", "d/a/", "d/a/b=y", "d/c=z"]),
        (rm("/d/", false, false), &["d/", "d/a/", "d/a/b=y", "d/c=z"]),
        (rm("/l", false, false), &["l->d"]),
        (rm("/l/c", false, false), &["d/c=z"]),
        (rm("/dangling", false, false), &["dangling->no"]),
        (rm("/no", false, true), &[]),
        (rm("/no/no", false, true), &[]),
        (rm("/f/no", false, true), &[]),
        (rm("/*.txt", true, false), &["x.txt=1", "y.txt=2"]),
        (rm("/*.txt", false, true), &[]),
        (rm("/d/*", true, false), &["d/a/", "d/a/b=y", "d/c=z"]),
        (rm("/no*", true, false), &[]),
        (rm("/f", true, false), &["f=x"]),
        (rm("/l/*", true, false), &[]),
        (rm("/d/../f", false, false), &["f=x"]),
    ] {
        let case = format!("{removed:?}");
        assert_eq!(Trees::new(&[], to).after(removed), left(gone), "{case}");
    }
    for (removed, said) in [
        (rm("/no", false, false), "remove /no: /no: No such file or directory"),
        (rm("/no", true, false), "/no: No such file or directory"),
        (rm("/f/no", false, false), "Not a directory"),
        (rm("/", false, true), "the root itself cannot be removed"),
        (rm("/d/..", false, true), "the root itself cannot be removed"),
        (rm("/[", true, true), "the pattern is not well formed"),
    ] {
        let after = Trees::new(&[], to).after(removed);
        assert!(after[0].contains(said), "{after:?}");
    }
}

#[test]
fn what_is_made_has_the_owner_that_is_said() {
    if !is_root("owners of files") {
        return;
    }
    let trees = Trees::new(&[], &["there/"]);
    let owner = Some((12, 34));
    trees.act(mkdir("/there/a/b", 0o755, true), owner).unwrap();
    trees.act(mkfile("/f", 0o4755, "x"), owner).unwrap();
    trees.act(link("f", "/l"), owner).unwrap();
    for name in ["there/a", "there/a/b", "f", "l"] {
        assert_eq!(trees.owner(name), (12, 34), "{name}");
    }
    assert_eq!(trees.mode("f"), 0o4755, "a change of owner takes such bits away");
    let own = fs::symlink_metadata(trees.to().join("there")).unwrap();
    assert_eq!(own.uid(), 0, "what was there is not changed");
}
