//! Which files are copied.

use super::{FileActionCopy, Trees, copied, dockerfile, listed};

fn chosen(copy: FileActionCopy, include: &[&str], exclude: &[&str]) -> FileActionCopy {
    let own = |list: &[&str]| list.iter().map(|&pattern| pattern.to_owned()).collect();
    FileActionCopy { include_patterns: own(include), exclude_patterns: own(exclude), ..copy }
}

#[test]
fn wildcards_find_what_go_finds() {
    let from =
        &["a.txt=a", "b.txt=b", "c.md=c", "d/e.txt=e", "d/f/g.txt=g", "x*y=star", "l->d", "[z=bracket"];
    for (src, wanted) in [
        ("/*.txt", &["a.txt=a", "b.txt=b"][..]),
        ("*.txt", &["a.txt=a", "b.txt=b"]),
        ("/?.md", &["c.md=c"]),
        ("/[ab].txt", &["a.txt=a", "b.txt=b"]),
        ("/[^a].txt", &["b.txt=b"]),
        ("/d/*", &["e.txt=e", "g.txt=g"]),
        ("/*/*.txt", &["e.txt=e"]),
        ("/d/*/*", &["g.txt=g"]),
        ("/l/*.txt", &["e.txt=e"]),
        ("/x\\*[y]", &["x*y=star"]),
        ("/d/f/g.txt", &["g.txt=g"]),
        ("/*.txt/", &["a.txt=a", "b.txt=b"]),
    ] {
        let trees = Trees::new(from, &[]);
        let wanted: Vec<String> =
            [&["to/".to_owned()][..], &wanted.iter().map(|file| format!("to/{file}")).collect::<Vec<_>>()]
                .concat();
        assert_eq!(trees.after(dockerfile(src, "/to/")), wanted, "{src}");
    }
    // Not followed without being told, and never behind the first wildcard.
    for src in ["/no*", "/*/no", "/no/*", "/a.txt/*"] {
        let after = Trees::new(from, &[]).after(dockerfile(src, "/to/"));
        assert!(after[0].ends_with(&format!("{src}: nothing matches the pattern")), "{after:?}");
        let may = FileActionCopy { allow_empty_wildcard: true, ..dockerfile(src, "/to/") };
        assert_eq!(Trees::new(from, &["kept=k"]).after(may), ["kept=k"], "{src}");
    }
    let still = FileActionCopy { allow_wildcard: true, ..copied("/l/*", "/to/") };
    assert!(Trees::new(from, &[]).after(still)[0].ends_with("nothing matches the pattern"));
    let bad = Trees::new(from, &[]).after(dockerfile("/[a", "/to/"));
    assert!(bad[0].ends_with("/[a: the pattern is not well formed"), "{bad:?}");
    // Without leave they are letters.
    assert_eq!(Trees::new(from, &[]).after(copied("/x*y", "/g")), ["g=star"]);
}

#[test]
fn directories_that_a_wildcard_finds_are_copied_as_such_or_emptied_into_one() {
    let from = &["d1/a=a", "d2/b=b", "f=f"];
    let whole = FileActionCopy { allow_wildcard: true, ..copied("/d*", "/to/") };
    assert_eq!(Trees::new(from, &[]).after(whole), ["to/", "to/d1/", "to/d1/a=a", "to/d2/", "to/d2/b=b"]);
    assert_eq!(Trees::new(from, &[]).after(dockerfile("/d*", "/to/")), ["to/", "to/a=a", "to/b=b"]);
    assert_eq!(Trees::new(from, &[]).after(dockerfile("/*", "/to/")), ["to/", "to/a=a", "to/b=b", "to/f=f"]);
}

#[test]
fn patterns_choose_what_they_choose_for_a_digest() {
    let from = &["d/a.go=a", "d/b.md=b", "d/s/c.go=c", "d/s/d.md=d", "d/s/t/e.go=e", "d/empty/", "d/l->a.go"];
    let all = ["a.go=a", "b.md=b", "empty/", "l->a.go", "s/", "s/c.go=c", "s/d.md=d", "s/t/", "s/t/e.go=e"];
    for (include, exclude, wanted) in [
        (&[][..], &[][..], &all[..]),
        (&["*"], &[], &all),
        (&["*.go"], &[], &["a.go=a"]),
        (&["**/*.go"], &[], &["a.go=a", "s/", "s/c.go=c", "s/t/", "s/t/e.go=e"]),
        (&["s"], &[], &["s/", "s/c.go=c", "s/d.md=d", "s/t/", "s/t/e.go=e"]),
        (&["s/t"], &[], &["s/", "s/t/", "s/t/e.go=e"]),
        (&["s/*.md", "l"], &[], &["l->a.go", "s/", "s/d.md=d"]),
        (&["no"], &[], &[]),
        (&[], &["s"], &["a.go=a", "b.md=b", "empty/", "l->a.go"]),
        (&[], &["**/*.md", "empty"], &["a.go=a", "l->a.go", "s/", "s/c.go=c", "s/t/", "s/t/e.go=e"]),
        (&[], &["*", "!s/t"], &["s/", "s/t/", "s/t/e.go=e"]),
        (&[], &["s", "!s/t"], &["a.go=a", "b.md=b", "empty/", "l->a.go", "s/", "s/t/", "s/t/e.go=e"]),
        (&["s"], &["s/t"], &["s/", "s/c.go=c", "s/d.md=d"]),
        (&["**/*.go"], &["s"], &["a.go=a"]),
        (&["**", "!s"], &[], &["a.go=a", "b.md=b", "empty/", "l->a.go"]),
        (&["empty"], &[], &["empty/"]),
    ] {
        let trees = Trees::new(from, &[]);
        trees.act(chosen(dockerfile("/d", "/e"), include, exclude), None).unwrap();
        assert_eq!(listed(&trees.to().join("e")), wanted, "{include:?} {exclude:?}");
    }
    // One file is what was asked for by its name.
    assert_eq!(Trees::new(from, &[]).after(chosen(copied("/d/a.go", "/g"), &["no"], &["**"])), ["g=a"]);
    for bad in ["[", "!"] {
        let after = Trees::new(from, &[]).after(chosen(copied("/d", "/e"), &[], &[bad]));
        assert!(after[0].ends_with("is not well formed"), "{after:?}");
    }
}

#[test]
fn required_paths_must_be_among_what_is_chosen() {
    let from = &["d/a=a", "d/s/b=b"];
    let required = |paths: &[&str], include: &[&str]| FileActionCopy {
        required_paths: paths.iter().map(|&path| path.to_owned()).collect(),
        ..chosen(dockerfile("/d", "/e"), include, &[])
    };
    for (paths, include) in
        [(&["a"][..], &["a"][..]), (&["/a", "s/b"], &["**"]), (&["s"], &["s/*"]), (&["/d/s"], &["s"])]
    {
        Trees::new(from, &[]).act(required(paths, include), None).unwrap();
    }
    for (paths, include, missing) in [(&["a", "no"][..], &["**"][..], "/no"), (&["s/b"], &["a"], "/s/b")] {
        let after = Trees::new(from, &[]).after(required(paths, include));
        assert!(after[0].ends_with(&format!("/d: {missing} is required and not there")), "{after:?}");
    }
}
