//! Where copies go.

use super::{FileActionCopy, Trees, copied, dockerfile};

/// What is copied to what is there, and what is there then.
type Case<'a> = (&'a [&'a str], &'a [&'a str], FileActionCopy, &'a [&'a str]);

fn check(cases: &[Case<'_>]) {
    for (from, to, copy, wanted) in cases {
        let trees = Trees::new(from, to);
        let case = format!("{} to {} on {to:?}", copy.src, copy.dest);
        assert_eq!(trees.after(copy.clone()), *wanted, "{case}");
    }
}

#[test]
fn files_go_where_buildkit_puts_them() {
    check(&[
        (&["f=x"], &[], copied("/f", "/g"), &["g=x"]),
        (&["f=x"], &["g=old"], copied("/f", "/g"), &["g=x"]),
        (&["f=x"], &["d/"], copied("/f", "/d"), &["d/", "d/f=x"]),
        (&["f=x"], &["d/"], copied("/f", "/d/"), &["d/", "d/f=x"]),
        (&["f=x"], &[], copied("/f", "/new/"), &["new/", "new/f=x"]),
        (&["f=x"], &[], copied("/f", "/new/."), &["new/", "new/f=x"]),
        (&["f=x"], &[], copied("f", "g"), &["g=x"]),
        (&["f=x"], &[], copied("/f", "/"), &["f=x"]),
        (&["f=x"], &[], copied("/f", "."), &["f=x"]),
        (&["d/f=x"], &[], copied("/d/../d//f", "/./g"), &["g=x"]),
        (&["f=x"], &[], dockerfile("/f", "/a/b/c"), &["a/", "a/b/", "a/b/c=x"]),
        (&["f=x"], &["l->d", "d/"], copied("/f", "/l"), &["d/", "d/f=x", "l->d"]),
        (&["f=x"], &["l->d/g", "d/"], copied("/f", "/l"), &["d/", "d/g=x", "l->d/g"]),
        (&["f=x"], &["l->g", "g=old"], copied("/f", "/l"), &["g=x", "l->g"]),
        (&["f=x"], &["d/f->../kept", "kept=k"], copied("/f", "/d/"), &["d/", "d/f=x", "kept=k"]),
        (&["l->f", "f=x"], &[], copied("/l", "/g"), &["g->f"]),
        (&["l->f", "f=x"], &[], dockerfile("/l", "/g"), &["g=x"]),
        (&["l->f", "f=x"], &["d/"], dockerfile("/l", "/d/"), &["d/", "d/l=x"]),
        (&["a->b", "b/f=x"], &[], copied("/a/f", "/g"), &["g=x"]),
        (&["a->/b", "b/f=x"], &[], copied("/a/f", "/g"), &["g=x"]),
        (&["x/a->../../../b", "b/f=x"], &[], copied("/x/a/f", "/g"), &["g=x"]),
    ]);
}

#[test]
fn directories_go_where_buildkit_puts_them() {
    check(&[
        (&["d/f=x"], &[], copied("/d", "/e"), &["e/", "e/f=x"]),
        (&["d/f=x"], &["e/"], copied("/d", "/e"), &["e/", "e/d/", "e/d/f=x"]),
        (&["d/f=x"], &[], copied("/d", "/e/"), &["e/", "e/d/", "e/d/f=x"]),
        (&["d/f=x"], &[], dockerfile("/d", "/e"), &["e/", "e/f=x"]),
        (&["d/f=x"], &["e/g=y"], dockerfile("/d", "/e"), &["e/", "e/f=x", "e/g=y"]),
        (&["d/f=x"], &["e/"], copied("/d/.", "/e"), &["e/", "e/f=x"]),
        (&["d/f=x"], &["e/"], copied("/d/", "/e"), &["e/", "e/d/", "e/d/f=x"]),
        (&["f=x", "d/"], &["e/"], copied("/", "/e"), &["e/", "e/d/", "e/f=x"]),
        (&["f=x", "d/"], &["g=y"], copied("/", "/"), &["d/", "f=x", "g=y"]),
        (
            &["d/s/f=x"],
            &["e/d/s/g=y"],
            copied("/d", "/e"),
            &["e/", "e/d/", "e/d/s/", "e/d/s/f=x", "e/d/s/g=y"],
        ),
        (&["d/f=new"], &["e/d/f=old"], copied("/d", "/e"), &["e/", "e/d/", "e/d/f=new"]),
        (&["d/l->nowhere"], &[], copied("/d", "/e"), &["e/", "e/l->nowhere"]),
        (
            &["d/l->nowhere"],
            &["e/l->../kept", "kept=k"],
            dockerfile("/d", "/e"),
            &["e/", "e/l->nowhere", "kept=k"],
        ),
        (&["l->d", "d/f=x"], &[], dockerfile("/l", "/e"), &["e/", "e/f=x"]),
        (&["l->d", "d/f=x"], &[], copied("/l", "/e"), &["e->d"]),
        (&["d/empty/", "d/f="], &[], copied("/d", "/e"), &["e/", "e/empty/", "e/f="]),
        (&["d/f=x"], &["l->e", "e/"], dockerfile("/d", "/l"), &["e/", "e/f=x", "l->e"]),
    ]);
}

#[test]
fn what_is_in_the_way_is_replaced_if_that_is_asked_for() {
    let replacing = |copy| FileActionCopy { always_replace_existing_dest_paths: true, ..copy };
    check(&[
        (&["f=x"], &["d/f/deep=y"], replacing(copied("/f", "/d")), &["d/", "d/f=x"]),
        (&["d/s/f=x"], &["e/s=y"], replacing(dockerfile("/d", "/e")), &["e/", "e/s/", "e/s/f=x"]),
        (
            &["d/s/f=x"],
            &["e/s->../k", "k/y=y"],
            replacing(dockerfile("/d", "/e")),
            &["e/", "e/s/", "e/s/f=x", "k/", "k/y=y"],
        ),
        (&["d/f=x"], &["e/f/y=y", "e/g=z"], replacing(dockerfile("/d", "/e")), &["e/", "e/f=x", "e/g=z"]),
    ]);
    for (from, to, copy, said) in [
        (&["f=x"], &["d/f/deep=y"], copied("/f", "/d"), "/d/f: a directory is not replaced by a file"),
        (&["d/s/f=x"], &["e/s=y"], dockerfile("/d", "/e"), "/e/s: what is there is not a directory"),
        (&["d/s/f=x"], &["e/s->../k"], dockerfile("/d", "/e"), "/e/s: what is there is not a directory"),
        (&["d/f=x"], &["e/f/y=y"], dockerfile("/d", "/e"), "/e/f: a directory is not replaced by a file"),
    ] {
        let after = Trees::new(from, to).after(copy);
        assert!(after[0].ends_with(said), "{after:?}");
    }
}

#[test]
fn what_cannot_be_copied_is_said() {
    for (from, to, copy, said) in [
        (&["f=x"][..], &[][..], copied("/no", "/g"), "copy /no to /g: /no: No such file or directory"),
        (&["f=x"], &[], dockerfile("/a/b", "/g"), "copy /a/b to /g: /a/b: No such file or directory"),
        (&["f=x"], &[], copied("/f", "/no/g/h"), "copy /f to /no/g/h: /no/g/h: No such file or directory"),
        (&["f=x"], &[], copied("/f/g", "/h"), "/f/g: Not a directory"),
        (&["f=x"], &["g=y"], copied("/f", "/g/"), "/g/: Not a directory"),
        (&["f=x"], &["g=y"], dockerfile("/f", "/g/h"), "/g/h: Not a directory"),
        (&["d/f=x"], &["g=y"], copied("/d", "/g"), "/g: Not a directory"),
        (&["l->no"], &[], dockerfile("/l", "/g"), "/l: No such file or directory"),
        (&["l->l"], &[], dockerfile("/l", "/g"), "/l: Too many levels of symbolic links"),
        (&["f=x"], &["l->l"], copied("/f", "/l"), "/l: Too many levels of symbolic links"),
    ] {
        let after = Trees::new(from, to).after(copy);
        assert!(after[0].contains(said), "{after:?}");
    }
}

#[test]
fn directories_above_are_made_only_if_that_is_asked_for() {
    let made = |src, dest| FileActionCopy { create_dest_path: true, ..copied(src, dest) };
    check(&[
        (&["f=x"], &[], made("/f", "/a/b/"), &["a/", "a/b/", "a/b/f=x"]),
        (&["d/f=x"], &[], made("/d", "/a/b"), &["a/", "a/b/", "a/b/f=x"]),
        (
            &["f=x"],
            &["l->gone/deep"],
            made("/f", "/l/g"),
            &["gone/", "gone/deep/", "gone/deep/g=x", "l->gone/deep"],
        ),
    ]);
    let trees = Trees::new(&["f=x"], &[]);
    trees.act(made("/f", "/a/b/c"), None).unwrap();
    assert_eq!([trees.mode("a"), trees.mode("a/b")], [0o755, 0o755]);
}
