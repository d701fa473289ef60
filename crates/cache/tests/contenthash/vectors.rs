//! Digests that BuildKit's own tests expect of small trees (`cache/contenthash/checksum_test.go`).

use lazyblob_cache::contenthash::{FileHasher, Kind, Meta, Node, Root, Selector, Sum};

use crate::support::{Memory, filtered, header, wild};

const DATA0: &str = "sha256:cd8e75bca50f2d695f220d0cb0997d8ead387e4f926e8669a92d7f104cc9885b";
const DATA1: &str = "sha256:c2b5e234f5f38fc5864da7def04782f82501a40d46192e4207d5b3f0c3c4732b";
const DATA2: &str = "sha256:1c67653c3cf95b12a0014e2c4cd1d776b474b3218aee54155d6ae27b9b999c54";
const D0: &str = "sha256:d47454417d2c554067fbefe5f5719edc49f3cfe969c36b62e34a187a4da0cc9a";
const D0_CHANGED: &str = "sha256:555ffa3028630d97ba37832b749eda85ab676fd64ffb629fbf0f4ec8c1e3bff1";

fn followed(selector: Selector) -> Selector {
    Selector { follow: true, ..selector }
}

#[track_caller]
fn check(tree: &Memory, selector: &Selector, digest: &str) {
    assert_eq!(tree.fresh(selector).unwrap().to_string(), digest, "{selector:?}");
    let told = Memory::new().sum(&mut tree.told(Root::Snapshot), selector);
    assert_eq!(told.unwrap().to_string(), digest, "{selector:?}");
}

#[test]
fn files_and_directories() {
    let tree = Memory::of(&[
        "foo=data0",
        "bar=data1",
        "d0/",
        "d0/abc=data0",
        "d0/def -> abc",
        "d0/ghi -> nosuchfile",
    ]);
    for (path, digest) in [
        ("foo", DATA0),
        ("bar", DATA1),
        ("d0/abc", DATA0),
        ("d0/def", DATA0),
        ("/", "sha256:427c9cf9ae98c0f81fb57a3076b965c7c149b6b0a85625ad4e884236649a42c6"),
        ("d0", D0),
    ] {
        check(&tree, &Selector::followed(path), digest);
    }
    assert!(tree.fresh(&Selector::followed("d0/ghi")).unwrap_err().is_not_found());
    check(&Memory::of(&["abc=data0", "def -> abc", "ghi -> nosuchfile"]), &Selector::followed("/"), D0);
    check(&Memory::of(&["abc=data0", "def -> abc"]), &Selector::followed("/"), D0_CHANGED);
    let names = ["d0/", "d0/foo/", "d0/foo/bar=data0", "d0/foo-subdir/", "d0/foo.subdir=data1"];
    let digest = "sha256:14276c302c940a80f82ca5477bf766c98a24702d6a9948ee71bb277cdad3ae05";
    check(&Memory::of(&names), &Selector::followed("d0"), digest);
}

#[test]
fn wildcards() {
    let tree = Memory::of(&[
        "bar=data1",
        "foo=data0",
        "fox=data2",
        "x/",
        "x/d0/",
        "x/d0/abc=data0",
        "x/d0/def -> abc",
        "x/d0/ghi -> nosuchfile",
        "y1 -> foo",
        "y2 -> fox",
    ]);
    let foos = "sha256:0b6731924f0a32a812bf8a729202e55e54ded331f9e4ff2397f681e43694e086";
    check(&tree, &wild("f*"), foos);
    check(&tree, &wild("f*o"), &Sum::of(format!("\0foo{DATA0}").as_bytes()).to_string());
    check(&tree, &wild("x/d?"), "sha256:6b612ad5c13159112ae26357ef7bd34df29916941ba40ec2ce38dfb70c6c60c3");
    check(&tree, &followed(wild("x/d?/def")), DATA0);
    let links = "sha256:982153600b9653a1decb0f961e09e2bc1be335cfcaac9b39dbd1120b65fdf92c";
    check(&tree, &followed(wild("y*")), links);
}

#[test]
fn links_that_lead_nowhere() {
    let tree = Memory::of(&[
        "target=data0",
        "sym -> target",
        "sym2 -> target2",
        "foo/",
        "foo/ghi -> target",
        "y1 -> foo/ghi",
    ]);
    let link = "sha256:a2ba571981f48ec34eb79c9a3ab091b6491e825c2f7e9914ea86e8e958be7fae";
    for path in ["sym", "foo/ghi"] {
        check(&tree, &wild(path), link);
        check(&tree, &Selector::path(path), link);
    }
    for path in ["foo/ghi", "y1"] {
        assert!(tree.fresh(&followed(wild(path))).unwrap_err().is_not_found());
    }
    let directory = "sha256:9b761577efcb1239cf4be971914c5d7404914dd32ff436401af1764dc5446b83";
    check(&tree, &Selector::followed("foo"), directory);
    check(&tree, &followed(filtered("foo", &[], &["*.git"])), directory);
    let by_wildcard = "sha256:2797e710c6d1a89ff2d91c834b828b1dc500f2982430a58241df8e146f4c4bb4";
    check(&tree, &followed(wild("fo?")), by_wildcard);
}

#[test]
fn patterns() {
    let digest = "sha256:aa7448215bbf5b837b35ce64467857d8b9747965573d14d4b31b370586370971";
    let names = [
        "prefix/",
        "prefix/a/",
        "prefix/a/b/",
        "prefix/a/b/c/",
        "prefix/a/b/c/foo/",
        "prefix/a/b/c/foo/bar=abc",
    ];
    let (tree, without) = (Memory::of(&names), Memory::of(&names[..4]));
    for pattern in ["**/foo/**", "**/foo"] {
        for wildcard in [false, true] {
            let selector = Selector { wildcard, ..filtered("prefix/a", &[pattern, "**/report"], &[]) };
            check(&tree, &selector, digest);
            check(&without, &selector, &Sum::of(b"").to_string());
        }
    }
    let digest = "sha256:8f36dfd60011a21345427f4d3177b1223e11fbb732c18dd07cd8b2a27a0b53ca";
    let tree = Memory::of(&["test/", "test/foo=data0"]);
    check(&tree, &Selector::path("test"), digest);
    check(&tree, &filtered("test", &[], &["*.git"]), digest);
}

/// What leads through links is called as it was asked for.
#[test]
fn patterns_behind_links() {
    let tree = Memory::of(&[
        "data/",
        "data/d0/",
        "data/d0/d1/",
        "data/d0/d1/d2/",
        "data/d0/d1/d2/foo=abc",
        "data/symlink-to-d0 -> d0",
        "mnt/",
        "mnt/data -> ../data",
    ]);
    let sum = |path: &str, wildcard| {
        tree.fresh(&Selector { wildcard, ..filtered(path, &["**/foo"], &[]) }).unwrap()
    };
    for (path, behind, wildcard) in [
        ("data/d0", "mnt/data/d0", false),
        ("data/d0", "mnt/data/d0", true),
        ("data/d*", "mnt/data/d*", true),
        ("data/d0/d1/d2", "mnt/data/d0/d1/d2", false),
        ("data/d0/d1/d2", "mnt/data/d0/d1/d2", true),
        ("data/d0/d1/d*", "mnt/data/d0/d1/d*", true),
        ("data/d0/d*/d2", "mnt/data/d0/d*/d2", true),
        ("data/d0/d*/d2", "mnt/data/symlink-to-d0/d*/d2", true),
    ] {
        assert_ne!(sum(path, wildcard), Sum::of(b""), "{path}");
        assert_eq!(sum(path, wildcard), sum(behind, wildcard), "{behind}");
    }
}

#[test]
fn changes() {
    let file = |content: &str| {
        let meta = Meta { size: content.len() as u64, ..Meta::new(Kind::File, 0o644) };
        let mut hasher = FileHasher::new(&meta);
        hasher.update(content.as_bytes());
        Some(hasher.finish())
    };
    let names = [
        "d0/",
        "d0/foo/",
        "d0/foo/bar=data0",
        "d0/foo/subdir1/",
        "d0/foo/subdir1/baz=data1",
        "d0/foo/subdir2/",
    ];
    let mut table = Memory::of(&names).told(Root::Local);
    let foo = Selector::path("d0/foo");
    let sum = |table: &mut _| Memory::new().sum(table, &foo).unwrap().to_string();
    assert_eq!(sum(&mut table), "sha256:e76717544f71725bd759a981554ca17c286b3d222598f46a671b983fd2b8172d");
    table.insert(b"d0/foo", Node::Directory, Some(header(0o700))).unwrap();
    assert_eq!(sum(&mut table), "sha256:3a729f6ba0d3d74c6ade7d118b08b46e37e447afdad7fc6e258dbba12fa80141");
    table.insert(b"d0/foo", Node::File, file("data2")).unwrap();
    assert_eq!(sum(&mut table), DATA2);
    assert!(table.known(&[Selector::path("d0/foo/bar")]).unwrap_err().is_not_found());

    let mut table = Memory::of(&["abc/", "abc/foo=data0"]).told(Root::Local);
    table.link(b"ln", b"/abc/foo").unwrap();
    table.link(b"ln2", b"/abc/foo").unwrap();
    let sum =
        |table: &mut _, path: &str| Memory::new().sum(table, &Selector::path(path)).unwrap().to_string();
    assert_eq!((sum(&mut table, "ln"), sum(&mut table, "ln2")), (DATA0.into(), DATA0.into()));
    table.insert(b"abc/foo", Node::File, file("data1")).unwrap();
    table.link(b"ln", b"/abc/foo").unwrap();
    assert_eq!((sum(&mut table, "ln"), sum(&mut table, "ln2")), (DATA1.into(), DATA0.into()));
}
