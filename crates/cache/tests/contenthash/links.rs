//! Links: in the middle of a path, at its end, out of the tree, and round and round.

use lazyblob_cache::Error;
use lazyblob_cache::contenthash::{Kind, Meta, Root, Selector, Table};

use crate::support::Memory;

fn tree() -> Memory {
    Memory::of(&[
        "a/",
        "a/b/",
        "a/b/f=content",
        "a/up -> ..",
        "a/out -> ../../../../../a/b",
        "abs -> /a/b",
        "rel -> a/./b/",
        "two -> abs",
        "top -> /",
        "file -> a/b/f",
        "none -> nowhere/x",
        "back -> nowhere/../a/b",
        "self -> self",
        "ping -> pong",
        "pong -> /ping",
    ])
}

#[test]
fn links_on_the_way_are_always_followed() {
    let tree = tree();
    let file = tree.at("/a/b/f");
    for path in [
        "/abs/f",
        "rel/f",
        "/two/f",
        "/a/up/abs/f",
        "/a/out/f",
        "/top/a/up/top/two/f",
        "/a/up/a/up/a/b/f",
        "//rel/./f/",
        "/x/../../abs/f",
        "/back/f",
    ] {
        assert_eq!(tree.at(path), file, "{path}");
        assert_eq!(tree.fresh(&Selector::followed(path)).unwrap(), file, "{path}");
    }
}

#[test]
fn a_link_at_the_end_is_followed_if_asked() {
    let tree = tree();
    let (directory, file) = (tree.at("/a/b"), tree.at("/a/b/f"));
    for (path, leads_to) in [("/abs", directory), ("/two", directory), ("/a/out", directory), ("/file", file)]
    {
        assert_ne!(tree.at(path), leads_to, "{path}");
        assert_eq!(tree.fresh(&Selector::followed(path)).unwrap(), leads_to, "{path}");
    }
    assert_eq!(tree.fresh(&Selector::followed("/top")).unwrap(), tree.at("/"));
    assert_eq!(tree.fresh(&Selector::followed("/a/up")).unwrap(), tree.at("/"));
    assert_eq!(tree.at("/top/abs"), tree.at("/abs"), "the last one is not");
    // Two links of different names that say the same are the same.
    let link = Memory::of(&["x -> /a/b"]);
    assert_eq!(link.at("/x"), tree.at("/abs"));
}

#[test]
fn what_is_not_there_is_not_found() {
    let tree = tree();
    for path in ["/x", "/a/x/y", "/a/b/f/g", "/abs/x", "/none/y", "/a b", "/a\0b"] {
        let error = tree.fresh(&Selector::path(path)).unwrap_err();
        assert!(error.is_not_found(), "{path}: {error}");
    }
    assert!(tree.fresh(&Selector::path("/none")).is_ok(), "a link to nothing is a link");
    let error = tree.fresh(&Selector::followed("/none")).unwrap_err();
    assert_eq!(error.to_string(), "hash tree /nowhere/x: not found");
}

#[test]
fn a_nul_is_no_slash() {
    let mut tree = Memory::of(&["a/", "a/b=1"]);
    tree.add("l", Meta { target: b"a\0b".to_vec(), ..Meta::new(Kind::Symlink, 0o777) }, "");
    assert!(tree.fresh(&Selector::path("/a\0b")).unwrap_err().is_not_found());
    let error = tree.fresh(&Selector::followed("/l")).unwrap_err();
    assert!(error.to_string().ends_with("a link on its way has a NUL"), "{error}");
}

#[test]
fn links_that_lead_round_are_an_error() {
    let tree = tree();
    for path in ["/self/x", "/ping/x", "/top/self/y"] {
        let error = tree.fresh(&Selector::path(path)).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().ends_with("the links on its way lead round and round"), "{error}");
    }
    assert!(tree.fresh(&Selector::followed("/self")).is_err());
    assert!(tree.fresh(&Selector::path("/self")).is_ok());
}

#[test]
fn as_many_links_may_be_followed_as_buildkit_follows() {
    let chain = |length: usize| {
        let mut tree = Memory::of(&["l0=x"]);
        for at in 1..=length {
            let target = format!("l{}", at - 1).into_bytes();
            tree.add(format!("l{at}"), Meta { target, ..Meta::new(Kind::Symlink, 0o777) }, "");
        }
        tree.fresh(&Selector::followed(format!("/l{length}")))
    };
    assert_eq!(chain(255).unwrap(), Memory::of(&["l0=x"]).at("/l0"));
    assert!(chain(256).is_err());
}

#[test]
fn links_in_a_directory_count_as_themselves() {
    let one = Memory::of(&["d/", "d/l -> ../x", "x=1"]);
    let other = Memory::of(&["d/", "d/l -> ../x", "x=2"]);
    assert_eq!(one.at("/d"), other.at("/d"));
    assert_ne!(one.at("/d"), Memory::of(&["d/", "d/l -> ../y"]).at("/d"));
}

#[test]
fn what_is_known_already_is_followed_alike() {
    let mut tree = tree();
    let mut table = Table::unread(Root::Snapshot);
    let whole = tree.sum(&mut table, &Selector::path("/")).unwrap();
    assert_eq!(whole, tree.at("/"));
    for path in ["/top/a/up/top/two/f", "/a/out/f", "/back/f"] {
        assert_eq!(tree.sum(&mut table, &Selector::path(path)).unwrap(), tree.at("/a/b/f"), "{path}");
    }
    assert!(tree.sum(&mut table, &Selector::path("/ping/x")).is_err());
    let mut told = tree.told(Root::Snapshot);
    assert_eq!(Memory::new().sum(&mut told, &Selector::path("/two/f")).unwrap(), tree.at("/a/b/f"));
}
