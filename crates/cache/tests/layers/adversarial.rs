//! The adversarial images: refused by name, nothing escaped; or the same tree as everybody makes.

use std::process::Command;

use lazyblob_cache::Error;
use lazyblob_cache::layer::Form;
use lazyblob_cache::testing::adversarial::{images, refused};
use lazyblob_cache::testing::tree::{Part, Tree};

use lazyblob_remote::testing::installed;

use crate::support::{Target, is_root, now, umoci};

#[test]
fn what_is_wrong_is_refused_by_name_and_nothing_gets_out() {
    if !is_root("wrong layers in every form") {
        return;
    }
    for (name, layers, said) in refused() {
        for form in [Form::Tree, Form::Overlay, Form::Plain] {
            let target = Target::new();
            std::fs::write(target.dir().join("../victim"), "victim").unwrap();
            let (last, below) = layers.split_last().unwrap();
            below.iter().for_each(|layer| drop(target.apply(layer, form).unwrap()));
            // To a single layer a target that is not there is one below.
            let is_below = form != Form::Tree && said == "not there";
            match target.apply(last, form) {
                Err(error) => {
                    assert!(error.to_string().contains(said), "{name}, {form:?}: {error}");
                    assert!(
                        matches!(error, Error::Invalid { .. } | Error::Refused { .. }),
                        "{name}: {error:?}"
                    );
                }
                Ok(applied) => {
                    assert!(is_below, "{name}, {form:?}: {applied:?}");
                    assert_eq!(applied.pending.links[0].target.to_str(), Some("victim"), "{name}");
                }
            }
            assert_eq!(std::fs::read(target.dir().join("../victim")).unwrap(), b"victim");
            std::fs::remove_file(target.dir().join("../victim")).unwrap();
            target.assert_nothing_escaped();
        }
    }
}

#[test]
fn layers_one_on_the_other_make_the_tree_that_umoci_makes() {
    if !is_root("layers compared with umoci") || !installed("layers compared with umoci", &["umoci"]) {
        return;
    }
    let mut differences = Vec::new();
    for (name, layers) in images() {
        let start = now();
        let target = Target::new();
        for layer in &layers {
            target.apply(layer, Form::Tree).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        target.assert_nothing_escaped();
        let theirs = tempfile::tempdir().unwrap();
        let rootfs = umoci(&layers, theirs.path()).unwrap_or_else(|said| panic!("{name}: umoci: {said}"));
        let (mut ours, mut theirs) = (target.tree(), Tree::of(&rootfs).unwrap());
        for (path, node) in &mut ours.nodes {
            assert!(node.mtime.0 < start, "{name}: {} has a time of no layer", path.display());
            // Where umoci leaves the time of day, the image says nothing that could be compared.
            if let Some(their) = theirs.nodes.get_mut(path).filter(|node| node.mtime.0 >= start) {
                (node.mtime, their.mtime) = ((0, 0), (0, 0));
            }
        }
        let lines = ours.without(Part::Holes).diff(&theirs.without(Part::Holes));
        differences.extend(lines.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(differences.is_empty(), "here is ours, there umoci's:\n{}", differences.join("\n"));
}

/// The kernel puts the layers of the overlay form together; hard links to layers below are not in them yet.
#[test]
fn the_kernels_overlay_of_the_layers_is_the_same_tree() {
    let what = "layers put together by overlayfs";
    if !is_root(what) || !installed(what, &["mount", "umount"]) {
        return;
    }
    for (name, layers) in images() {
        let target = Target::new();
        let mut dirs = Vec::new();
        let mut is_whole = true;
        for layer in &layers {
            target.apply(layer, Form::Tree).unwrap();
            let single = Target::new();
            is_whole &= single.apply(layer, Form::Overlay).unwrap().pending.links.is_empty();
            if single.tree().get("").unwrap().xattrs.contains_key("trusted.overlay.opaque") {
                // The kernel does not look there.
                dirs.clear();
            }
            dirs.push(single);
        }
        if !is_whole {
            continue;
        }
        // The kernel wants two of them.
        dirs.insert(0, Target::new());
        let merged = tempfile::tempdir().unwrap();
        let lower: Vec<_> = dirs.iter().rev().map(|dir| dir.dir().display().to_string()).collect();
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &format!("ro,lowerdir={}", lower.join(":"))])
            .arg(merged.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "{name}: cannot mount");
        let tree = Tree::of(merged.path());
        assert!(Command::new("umount").arg(merged.path()).status().unwrap().success());
        // Directories that a layer does not name are settled elsewhere.
        let bare = |tree: Tree| {
            let unsettled =
                [Part::Root, Part::DirectoryTimes, Part::Modes, Part::Xattrs, Part::Owners, Part::Links];
            unsettled.into_iter().fold(tree, Tree::without)
        };
        let lines = bare(target.tree()).diff(&bare(tree.unwrap()));
        assert!(lines.is_empty(), "{name}: here is a sequential apply's, there the kernel's: {lines:#?}");
    }
}
