//! Trees that want to lead out, and what is not to be touched.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tokio_util::sync::CancellationToken;

use super::{Trees, act, copied, dockerfile, is_root, link, mkdir, mkfile, rm};
use crate::Error;
use crate::ops::file::owner::{group, user};
use crate::ops::file::tree::Root;

/// Links to what is beside the trees: [`Trees::act`] sees to it that nothing there is changed.
#[test]
fn nothing_leads_out_of_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let absolute = outside.display();
    let links = [
        format!("abs->{absolute}"),
        "rel->../outside".to_owned(),
        "deep/rel->../../../../../../outside".to_owned(),
        "up->..".to_owned(),
        "updown->../outside/../outside".to_owned(),
        format!("file->{absolute}/secret"),
    ];
    let links: Vec<&str> = links.iter().map(String::as_str).collect();
    for at in ["abs", "rel", "deep/rel", "up/outside", "updown"] {
        // Of the source: what it would find outside is not there.
        let trees = Trees::new(&links, &[]);
        let after = trees.after(dockerfile(&format!("/{at}/secret"), "/stolen"));
        assert!(after[0].contains("No such file or directory"), "{at}: {after:?}");
        let after = trees.after(dockerfile(&format!("/{at}/*"), "/stolen/"));
        assert!(after[0].contains("nothing matches"), "{at}: {after:?}");
        // Of the target: what is made is made within.
        for action in [
            mkfile(&format!("/{at}/secret"), 0o644, "lost").into(),
            super::Action::from(mkdir(&format!("/{at}/kept/new"), 0o755, true)),
            link("x", &format!("/{at}/secret")).into(),
            dockerfile("/f", &format!("/{at}/secret")).into(),
            dockerfile("/d", &format!("/{at}/kept")).into(),
            rm(&format!("/{at}/secret"), false, true).into(),
            rm(&format!("/{at}/*"), true, true).into(),
        ] {
            let trees = Trees::new(&["f=x", "d/inner=lost"], &links);
            let _ = trees.act(action, None);
            assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        }
    }
    // A link that is replaced or removed is that link.
    let trees = Trees::new(&["s/abs=x"], &links);
    trees.act(dockerfile("/s", "/"), None).unwrap();
    assert_eq!(trees.text("abs"), "x");
    trees.act(rm("/rel", false, false), None).unwrap();
    assert!(fs::symlink_metadata(trees.to().join("rel")).is_err());
}

/// What a directory below the target is may be a link, too.
#[test]
fn copies_do_not_go_through_links_below_the_target() {
    let trees = Trees::new(&["d/sub/secret=lost"], &["d/sub->../../outside"]);
    let after = trees.after(dockerfile("/d", "/d"));
    assert!(after[0].ends_with("/d/sub: what is there is not a directory"), "{after:?}");
}

#[test]
fn long_ways_of_links_end() {
    let links: Vec<String> = (0..300).map(|at| format!("l{at}->l{}", at + 1)).collect();
    let mut links: Vec<&str> = links.iter().map(String::as_str).collect();
    links.push("l300=end");
    let trees = Trees::new(&links, &[]);
    assert!(trees.after(dockerfile("/l0", "/g"))[0].contains("Too many levels"));
    assert_eq!(trees.after(dockerfile("/l100", "/g")), ["g=end"]);
    // Each turn is longer than the one before.
    let trees = Trees::new(&["a->b/b/b/b", "b->a/a/a/a"], &[]);
    assert!(trees.after(dockerfile("/a/x", "/g"))[0].contains("Too many levels"));
}

#[test]
fn whiteouts_are_not_copied_as_devices() {
    if !is_root("devices") {
        return;
    }
    let trees = Trees::new(&["d/"], &[]);
    let path = trees.from().join("d/gone");
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
    let after = trees.after(copied("/d", "/e"));
    assert!(after[0].ends_with("/d/gone: a character device 0/0 is a whiteout to overlayfs"), "{after:?}");
}

#[test]
fn names_of_owners_are_those_of_the_tree() {
    let passwd = "etc/passwd=# root:x:1:1\nroot:x:0:0:::\nbad:x:no:1::\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n\n:x:5:5\nbob:x:7\n";
    let trees = Trees::new(
        &[passwd, "etc/group=wheel:x:10:ann,bob\nann:x:1001:\n"],
        &["etc/passwd->../../outside/secret", "etc/group/"],
    );
    let root = Root::open(&trees.from()).unwrap();
    assert_eq!(user(&root, "ann").unwrap(), Some((1000, 1001)));
    assert_eq!(user(&root, "root").unwrap(), Some((0, 0)));
    for nobody in ["bad", "bob", "eve", "", "# root"] {
        assert_eq!(user(&root, nobody).unwrap(), None, "{nobody}");
    }
    assert_eq!(group(&root, "wheel").unwrap(), Some(10));
    assert_eq!(group(&root, "eve").unwrap(), None);
    let other = Root::open(&trees.to()).unwrap();
    assert_eq!(user(&other, "ann").unwrap(), None, "a link to nothing of this tree");
    group(&other, "ann").unwrap_err();
}

#[test]
fn work_that_nobody_wants_ends() {
    let trees = Trees::new(&["d/f=x"], &["g/h=y"]);
    let [from, to] = [trees.from(), trees.to()].map(|path| Root::open(&path).unwrap());
    let cancel = CancellationToken::new();
    cancel.cancel();
    for action in [
        super::Action::from(copied("/d", "/e")),
        rm("/g", false, false).into(),
        mkfile("/f", 0o644, "").into(),
    ] {
        let done = act(&action, Some(&from), &to, None, &cancel);
        assert!(matches!(done, Err(Error::Cancelled { .. })), "{done:?}");
    }
    assert_eq!(super::listed(&trees.to()), ["g/", "g/h=y"]);
}
