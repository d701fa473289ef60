//! What a layer says of the layers below, in the two forms that keep it for later; and what is left to be settled.

use std::path::{Path, PathBuf};

use lazyblob_cache::layer::{Form, Link, Options};
use lazyblob_cache::testing::tars::{Header, Tar};
use lazyblob_cache::testing::tree::{Kind, Tree};

use crate::support::{Target, is_root};

const WHITEOUT: Kind = Kind::Character(0, 0);

fn is_opaque(tree: &Tree, name: &str) -> bool {
    tree.get(name).unwrap().xattrs.get("trusted.overlay.opaque").is_some_and(|value| value == b"y")
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn marks_are_devices_and_xattrs_or_stay_files() {
    if !is_root("the overlay form") {
        return;
    }
    let tar = Tar::new()
        .whiteout("", "gone")
        .whiteout("", "back")
        .file("back", "b")
        .whiteout("", "anew")
        .dir("anew", 0o700)
        .dir("late", 0o700)
        .file("late/in", "i")
        .whiteout("", "late")
        .dir("opaque", 0o755)
        .whiteout("opaque/", ".wh..opq")
        .file("was", "a file")
        .dir("was", 0o755)
        .end();
    let overlay = Target::new();
    overlay.apply(&tar, Form::Overlay).unwrap();
    let tree = overlay.tree();
    assert_eq!(tree.names(), ["anew", "back", "gone", "late", "late/in", "opaque", "was"]);
    assert_eq!(tree.get("gone").unwrap().kind, WHITEOUT);
    for name in ["anew", "late", "opaque", "was"] {
        assert!(is_opaque(&tree, name), "{name}");
    }
    let plain = Target::new();
    plain.apply_with(&tar, &Options::unprivileged(Form::Plain)).unwrap();
    let expected = [
        ".wh.anew",
        ".wh.back",
        ".wh.gone",
        ".wh.late",
        ".wh.was",
        "anew",
        "back",
        "late",
        "late/in",
        "opaque",
        "opaque/.wh..wh..opq",
        "was",
    ];
    assert_eq!(plain.tree().names(), expected);
    let sequential = Target::new();
    sequential.apply(&tar, Form::Tree).unwrap();
    assert_eq!(sequential.tree().names(), ["anew", "back", "late", "late/in", "opaque", "was"]);
}

#[test]
fn directories_the_tar_does_not_name_are_pending() {
    let tar = Tar::new().file("a/b/f", "f").dir("a/c", 0o700).whiteout("w/", "x").end();
    for form in [Form::Overlay, Form::Plain] {
        let target = Target::new();
        if form == Form::Overlay && !is_root("the overlay form") {
            continue;
        }
        let options =
            if form == Form::Plain { Options::unprivileged(form) } else { Options::privileged(form) };
        let applied = target.apply_with(&tar, &options).unwrap();
        assert_eq!(applied.pending.implied, paths(&["", "a", "a/b", "w"]));
        let tree = target.tree();
        for name in ["", "a", "a/b", "w"] {
            assert_eq!(
                (tree.get(name).unwrap().mode, tree.get(name).unwrap().mtime),
                (0o755, (0, 0)),
                "{name}"
            );
        }
        let named = Tar::new().dir("./", 0o750).file("a/f", "f").dir("a", 0o711).end();
        let applied = target.apply_with(&named, &options).unwrap();
        assert!(applied.pending.implied.is_empty(), "named later: {:?}", applied.pending);
    }
}

#[test]
fn what_this_layer_hides_below_is_not_pending() {
    if !is_root("the overlay form") {
        return;
    }
    for form in [Form::Overlay, Form::Plain] {
        let target = Target::new();
        let tar = Tar::new()
            .whiteout("", "gone")
            .file("gone/a/f", "f")
            .whiteout("opaque/", ".wh..opq")
            .file("opaque/b/f", "f")
            .file("late/f", "f")
            .whiteout("", "late")
            .end();
        let applied = target.apply(&tar, form).unwrap();
        assert_eq!(applied.pending.implied, paths(&["", "late", "opaque"]), "{form:?}");
        if form == Form::Overlay {
            assert!(is_opaque(&target.tree(), "gone") && is_opaque(&target.tree(), "late"));
        }
    }
}

#[test]
fn hard_links_to_layers_below_are_pending() {
    for form in [Form::Overlay, Form::Plain] {
        let target = Target::new();
        let options = Options::unprivileged(form);
        let tar = Tar::new()
            .link("one", "below/f")
            .link("two", "one")
            .symlink("way", "usr/lib")
            .link("through", "way/g")
            .link("given/up", "below/f")
            .file("given", "a file instead")
            .link("x", "below/f")
            .file("x", "a file instead")
            .file("own", "o")
            .link("also", "own");
        // A file where the directory was: the first is removed, with the link in it.
        let tar = tar.end();
        let applied = target.apply_with(&tar, &options).unwrap();
        let link = |name: &str, target: &str| Link { name: name.into(), target: target.into() };
        let expected = [link("one", "below/f"), link("through", "usr/lib/g"), link("two", "below/f")];
        assert_eq!(applied.pending.links, expected, "{form:?}");
        assert_eq!(target.tree().names(), ["also", "given", "own", "way", "x"]);
    }
    let target = Target::new();
    let error =
        target.apply_with(&Tar::new().link("one", "below/f").end(), &Options::unprivileged(Form::Tree));
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("one: it links to below/f, which is not there"), "{error}");
    let hidden = Tar::new().whiteout("", "below").link("one", "below/f").end();
    let error = target.apply_with(&hidden, &Options::unprivileged(Form::Plain)).unwrap_err().to_string();
    assert!(error.contains("which is not there"), "{error}");
}

#[test]
fn aufs_metadata_are_nobodys() {
    let tar = Tar::new()
        .dir(".wh..wh.plnk", 0o700)
        .file(".wh..wh.plnk/1.2", "x")
        .file(".wh..wh.aufs", "y")
        .file("f", "f")
        .end();
    let target = Target::new();
    target.apply_with(&tar, &Options::unprivileged(Form::Tree)).unwrap();
    assert_eq!(target.tree().names(), ["f"]);
}

/// As somebody without privileges, who may not write into directories that a layer below has closed.
#[test]
fn closed_directories_are_opened_up_and_closed_again() {
    if !is_root("a layer applied as nobody") {
        return;
    }
    let below = Tar::new()
        .entry(&Header::new(b'5', "d").mode(0o555).mtime(5), [])
        .entry(&Header::new(b'5', "d/e").mode(0o000).mtime(6), [])
        .file("d/e/f", "f")
        .entry(&Header::new(b'5', "r").mode(0o500), [])
        .file("r/f", "f")
        .end();
    let above = Tar::new().file("d/e/new", "n").file("d/x/y", "y").whiteout("", "r").file("d/e/f", "2").end();
    let target = Target::new();
    let dir = target.dir();
    std::os::unix::fs::chown(dir.parent().unwrap(), Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
            assert!(std::fs::read_dir("/root").is_err(), "still privileged");
            let options = Options::unprivileged(Form::Tree);
            target.apply_with(&below, &options)?;
            target.apply_with(&above, &options)
        });
        applied.join().unwrap().unwrap();
    });
    let tree = Tree::of(Path::new(&dir)).unwrap();
    assert_eq!(tree.names(), ["d", "d/e", "d/e/f", "d/e/new", "d/x", "d/x/y"]);
    assert_eq!((tree.get("d").unwrap().mode, tree.get("d").unwrap().mtime), (0o555, (5, 0)));
    assert_eq!((tree.get("d/e").unwrap().mode, tree.get("d/e").unwrap().mtime), (0, (6, 0)));
    assert_eq!(tree.get("d/e/new").unwrap().owner.0, 65534);
}
