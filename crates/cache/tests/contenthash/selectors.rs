//! Wildcards, patterns and what is required.

use lazyblob_cache::Error;
use lazyblob_cache::contenthash::{Kind, Meta, Root, Selector, Sum, Table, of_nothing};
use tokio_util::sync::CancellationToken;

use crate::support::{Memory, expected, filtered, header, wild};

fn tree() -> Memory {
    Memory::of(&[
        "a.md=1",
        "b.md=2",
        "dir/",
        "dir/a.md=3",
        "dir/empty/",
        "dir/sub/",
        "dir/sub/deep/",
        "dir/sub/deep/x.go=4",
        "dir/sub/y.go=5",
        "dir two/",
        "dir two/a.md=6",
        "dir-x/",
        "dir-x/a.md=7",
        "link -> dir",
        "links/",
        "links/file -> ../a.md",
        "to.md -> dir/a.md",
    ])
}

/// Checks that a selector takes these, by what they are called in the digest; directories end in a slash.
#[track_caller]
fn takes(tree: &Memory, selector: &Selector, prefix: &str, names: &[&str]) {
    let entries: Vec<(&str, Sum)> = names
        .iter()
        .map(|name| {
            let path = format!("{prefix}{name}");
            // The only link that leads to a directory.
            let real = if prefix == "/link" { format!("/dir{name}") } else { path.clone() };
            let is_directory = tree.files.get(real[1..].trim_end_matches('/').as_bytes());
            let is_directory = is_directory.is_none_or(|(meta, _)| meta.kind == Kind::Directory);
            let sum = if is_directory { header(0o755) } else { tree.at(&path) };
            (name.strip_suffix('/').unwrap_or(name), sum)
        })
        .collect();
    assert_eq!(tree.fresh(selector).unwrap(), expected(&entries), "{selector:?}");
    // The same of a tree that was told, where nothing is to be read.
    assert_eq!(Memory::new().sum(&mut tree.told(Root::Snapshot), selector).unwrap(), expected(&entries));
}

#[test]
fn wildcards_match_one_name() {
    let tree = tree();
    takes(&tree, &wild("/?.md"), "", &["/a.md", "/b.md"]);
    takes(&tree, &wild("*.md"), "", &["/a.md", "/b.md", "/to.md"]);
    takes(&tree, &wild("/*/a.md"), "", &["/dir/a.md", "/dir two/a.md", "/dir-x/a.md"]);
    takes(&tree, &wild("/dir/*.md"), "/dir", &["/a.md"]);
    takes(&tree, &wild("/dir/s?b/*"), "/dir", &["/sub/deep", "/sub/deep/x.go", "/sub/y.go"]);
    takes(&tree, &wild("/dir[ \\-]*"), "", &["/dir two", "/dir two/a.md", "/dir-x", "/dir-x/a.md"]);
    takes(&tree, &wild("/dir/e*"), "/dir", &["/empty"]);
}

#[test]
fn what_a_wildcard_finds_is_taken_with_all_below() {
    let tree = tree();
    let below = ["/sub", "/sub/deep", "/sub/deep/x.go", "/sub/y.go"];
    takes(&tree, &wild("/dir/su*"), "/dir", &below);
    let all: Vec<&str> = vec!["/a.md", "/empty", "/sub", "/sub/deep", "/sub/deep/x.go", "/sub/y.go"];
    takes(&tree, &wild("/dir/*"), "/dir", &all);
    takes(&tree, &wild("/link/*"), "/link", &all);
    takes(&tree, &wild("/dir/../link/./*/"), "/link", &all);
}

#[test]
fn nothing_found_is_the_digest_of_nothing() {
    let tree = tree();
    for selector in [wild("/x*"), wild("/nowhere/*"), wild("/nowhere/[]"), filtered("/nowhere", &["a"], &[])]
    {
        assert_eq!(tree.fresh(&selector).unwrap(), Sum::of(b""), "{selector:?}");
    }
    assert_eq!(tree.fresh(&filtered("/", &["x"], &[])).unwrap(), Sum::of(b""));
    assert!(tree.fresh(&Selector::path("/nowhere")).is_err(), "but a plain path has to be there");
}

#[test]
fn one_file_of_the_same_name_is_that_file() {
    let tree = tree();
    assert_eq!(tree.fresh(&wild("/dir/a.md")).unwrap(), tree.at("/dir/a.md"));
    assert_eq!(tree.fresh(&filtered("/dir/a.md", &[], &["x"])).unwrap(), tree.at("/dir/a.md"));
    // `a.md` by another name is not.
    assert_eq!(tree.fresh(&wild("/dir/a.m?")).unwrap(), expected(&[("/a.md", tree.at("/dir/a.md"))]));
    assert_eq!(tree.fresh(&wild("/dir/empty")).unwrap(), header(0o755));
}

#[test]
fn backslashes_take_away_a_meaning() {
    let mut tree = tree();
    tree.add("st*r", Meta::new(Kind::File, 0o644), "x");
    tree.add("star", Meta::new(Kind::File, 0o644), "y");
    assert_eq!(tree.fresh(&wild("/st\\*[r]")).unwrap(), expected(&[("/st*r", tree.at("/st*r"))]));
    // Two meanings: a name up to the first wildcard, and the character behind it in the whole.
    let both = Memory::of(&["\\d/", "\\d/f=1", "d/", "d/f=2"]);
    assert_eq!(both.fresh(&wild("/\\d/*")).unwrap(), expected(&[("/d/f", both.at("/d/f"))]));
    assert_eq!(Memory::of(&["d/", "d/f"]).fresh(&wild("/\\d/*")).unwrap(), Sum::of(b""));
}

#[test]
fn includes_bring_the_directories_they_are_in() {
    let tree = tree();
    let deep = ["/dir/", "/dir/sub/", "/dir/sub/deep/", "/dir/sub/deep/x.go"];
    takes(&tree, &filtered("/", &["**/x.go"], &[]), "", &deep);
    takes(&tree, &filtered("/", &["dir/sub/deep"], &[]), "", &deep);
    takes(&tree, &filtered("/", &["/dir/sub/deep"], &[]), "", &[]);
    takes(&tree, &filtered("/", &["**/*.go"], &["**/deep"]), "", &["/dir/", "/dir/sub/", "/dir/sub/y.go"]);
    takes(
        &tree,
        &filtered("/", &["dir*"], &["**/*.md", "dir/sub"]),
        "",
        &["/dir/", "/dir/empty/", "/dir two/", "/dir-x/"],
    );
}

#[test]
fn negated_patterns_take_back() {
    let tree = tree();
    takes(
        &tree,
        &filtered("/", &[], &["*", "!dir/sub"]),
        "",
        &["/dir/", "/dir/sub/", "/dir/sub/deep/", "/dir/sub/deep/x.go", "/dir/sub/y.go"],
    );
    takes(
        &tree,
        &filtered("/", &["dir", "!dir/sub", "dir/sub/deep"], &[]),
        "",
        &["/dir/", "/dir/a.md", "/dir/empty/", "/dir/sub/", "/dir/sub/deep/", "/dir/sub/deep/x.go"],
    );
}

#[test]
fn patterns_are_relative_to_what_is_selected() {
    let tree = tree();
    for path in ["/dir", "/link"] {
        // The directory itself is in the list as nothing.
        let entries = [("", header(0o755)), ("/a.md", tree.at("/dir/a.md"))];
        let selector = filtered(path, &["*.md"], &[]);
        let sum = tree.fresh(&selector).unwrap();
        match path {
            "/dir" => assert_eq!(sum, expected(&entries)),
            // A link at the end is not gone through.
            _ => assert_eq!(sum, Sum::of(b"")),
        }
    }
    takes(&tree, &filtered("/dir/sub", &["deep/**"], &[]), "/dir/sub", &["/", "/deep/", "/deep/x.go"]);
    let wild = Selector { wildcard: true, ..filtered("/d*", &["*.md"], &[]) };
    takes(&tree, &wild, "", &["/dir/", "/dir/a.md", "/dir two/", "/dir two/a.md", "/dir-x/", "/dir-x/a.md"]);
}

#[test]
fn links_that_are_found_are_followed_outside_of_directories() {
    let tree = tree();
    let follow = |selector: Selector| Selector { follow: true, ..selector };
    let followed = expected(&[
        ("/link", tree.at("/dir")),
        ("/links", header(0o755)),
        ("/links/file", tree.at("/links/file")),
    ]);
    assert_eq!(tree.fresh(&follow(wild("/li*"))).unwrap(), followed);
    assert_eq!(tree.fresh(&follow(wild("/to*"))).unwrap(), expected(&[("/to.md", tree.at("/dir/a.md"))]));
    assert_eq!(tree.fresh(&wild("/to*")).unwrap(), expected(&[("/to.md", tree.at("/to.md"))]));
    assert_eq!(tree.fresh(&follow(wild("/links/f*"))).unwrap(), expected(&[("/file", tree.at("/a.md"))]));
    let broken = Memory::of(&["l -> none"]);
    assert!(broken.fresh(&follow(wild("/l*"))).unwrap_err().is_not_found());
    assert!(broken.fresh(&wild("/l*")).is_ok());
}

#[test]
fn what_is_required_has_to_be_among_it() {
    let tree = tree();
    let required = |mut selector: Selector, paths: &[&str]| {
        selector.required = paths.iter().map(|&path| path.to_owned()).collect();
        tree.fresh(&selector)
    };
    let selector = filtered("/dir", &["sub/*.go"], &[]);
    let same = tree.fresh(&selector).unwrap();
    assert_eq!(required(selector.clone(), &["sub/y.go", "/dir/sub", "/dir/sub/y"]).unwrap(), same);
    let error = required(selector.clone(), &["sub", "empty"]).unwrap_err();
    assert_eq!(error.to_string(), "hash tree /dir: not found: nothing of it is empty");
    assert!(required(wild("/x*"), &["/x"]).unwrap_err().is_not_found());
    assert_eq!(required(Selector::path("/dir"), &["/dir", "sub/deep", "/dir/sub"]).unwrap(), tree.at("/dir"));
    assert!(required(Selector::path("/dir"), &["nothing"]).unwrap_err().is_not_found());
}

#[test]
fn patterns_that_make_no_sense_are_an_error() {
    let tree = tree();
    for selector in [
        wild("/dir/[]"),
        wild("/[a"),
        filtered("/", &["!"], &[]),
        filtered("/", &[], &["a["]),
        filtered("/", &["\\pL"], &[]),
    ] {
        let error = tree.fresh(&selector).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{selector:?}: {error}");
    }
}

#[test]
fn names_are_bytes() {
    let mut tree = Memory::new();
    for name in [&b"\xff\xfe"[..], b" x ", b"...", b"a\nb", b"*"] {
        tree.add(name, Meta::new(Kind::File, 0o644), name);
    }
    let mut text = Vec::new();
    for name in [&b" x "[..], b"*", b"...", b"a\nb", b"\xff\xfe"] {
        let mut one = Memory::new();
        one.add("f", Meta::new(Kind::File, 0o644), name);
        text.extend([b"\0", name, one.at("/f").to_string().as_bytes()].concat());
    }
    assert_eq!(tree.fresh(&wild("/*")).unwrap(), Sum::of(&text));
    let text = [b"\0", header(0o755).to_string().as_bytes(), &text].concat();
    assert_eq!(tree.at("/"), Sum::of(&text));
    assert_eq!(
        tree.fresh(&filtered("/", &[], &["[!-z]*", "...", "[\u{fffd}]?"])).unwrap(),
        tree.fresh(&wild("/ *")).unwrap(),
        "the space is left"
    );
}

#[test]
fn several_selectors_are_hashed_once_more() {
    let tree = tree();
    let digest = |selectors: &[Selector]| {
        let mut table = Table::unread(Root::Snapshot);
        table.checksum(&mut tree.clone(), selectors, &CancellationToken::new()).unwrap()
    };
    let (one, two) = (tree.at("/a.md"), tree.at("/dir"));
    assert_eq!(digest(&[Selector::path("/a.md")]), Sum::of(one.to_string().as_bytes()).digest());
    let both = Sum::of(format!("{one}\0{two}").as_bytes()).digest();
    assert_eq!(digest(&[Selector::path("/a.md"), Selector::path("/dir")]), both);
    assert_eq!(digest(&[]), digest(&[Selector::path("/")]));
}

#[test]
fn of_nothing_only_the_root_can_be_told() {
    let empty = Sum::of(Sum::of(b"").to_string().as_bytes()).digest();
    assert_eq!(of_nothing(&[]).unwrap(), empty);
    assert_eq!(of_nothing(&[Selector::path("//")]).unwrap(), empty);
    assert!(of_nothing(&[Selector::path("/"), Selector::path("/x")]).unwrap_err().is_not_found());
    // An empty tree is another thing: it has a root.
    assert_ne!(Memory::new().at("/"), Sum::of(b""));
}
