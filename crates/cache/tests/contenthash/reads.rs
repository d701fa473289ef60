//! What is read: what is asked for, once, and nothing else.

use lazyblob_cache::Error;
use lazyblob_cache::contenthash::{Kind, Meta, Node, Root, Selector, Source, Table};
use tokio_util::sync::CancellationToken;

use crate::support::{Memory, filtered, wild};

fn tree() -> Memory {
    Memory::of(&[
        "a=1",
        "big/",
        "big/one=1",
        "big/two/",
        "big/two/three=3",
        "link -> big/two",
        "other/",
        "other/x=x",
    ])
}

#[test]
fn one_file_is_read_for_one_file() {
    let mut tree = tree();
    let mut table = Table::unread(Root::Snapshot);
    assert_eq!(table.known(&[Selector::path("/link/three")]).unwrap(), None);
    tree.sum(&mut table, &Selector::path("/link/three")).unwrap();
    let calls = std::mem::take(&mut tree.calls);
    assert_eq!(
        calls,
        [
            "node link",
            "node big",
            "node big/two",
            "node big/two/three",
            "meta big/two/three",
            "read big/two/three"
        ]
    );
    tree.sum(&mut table, &Selector::path("/big/two/three")).unwrap();
    assert!(tree.calls.is_empty(), "{:?}", tree.calls);
    assert!(table.known(&[Selector::path("/link/three")]).unwrap().is_some());
}

#[test]
fn a_directory_reads_what_is_in_it_once() {
    let mut tree = tree();
    let mut table = Table::unread(Root::Snapshot);
    tree.sum(&mut table, &Selector::path("/big/two/three")).unwrap();
    tree.calls.clear();
    tree.sum(&mut table, &Selector::path("/big")).unwrap();
    assert_eq!(tree.reads(), ["big/one"]);
    tree.sum(&mut table, &Selector::path("/")).unwrap();
    assert_eq!(tree.reads(), ["a", "other/x"]);
    for selector in
        [Selector::path("/"), Selector::path("/big/two"), wild("/b*"), filtered("/", &["**/x"], &[])]
    {
        tree.sum(&mut table, &selector).unwrap();
        assert!(table.known(&[selector]).unwrap().is_some());
    }
    assert_eq!(tree.calls, [""; 0]);
}

#[test]
fn what_is_left_out_is_not_read() {
    let mut tree = tree();
    let mut table = Table::unread(Root::Snapshot);
    tree.sum(&mut table, &filtered("/", &["big"], &["**/three"])).unwrap();
    assert_eq!(tree.reads(), ["big/one"]);
    tree.sum(&mut table, &wild("/o*/x")).unwrap();
    assert_eq!(tree.reads(), ["other/x"]);
    let mut fresh = Table::unread(Root::Snapshot);
    tree.sum(&mut fresh, &filtered("/big/two", &["*"], &[])).unwrap();
    let listed: Vec<_> = tree.calls.iter().filter(|call| call.starts_with("list")).collect();
    assert_eq!(listed, ["list big/two"], "nothing beside it is looked at");
}

#[test]
fn an_empty_file_is_not_opened() {
    let mut tree = Memory::of(&["empty", "l -> x"]);
    tree.add("fifo", Meta::new(Kind::Fifo, 0o600), "");
    tree.add("socket", Meta::new(Kind::Socket, 0o600), "");
    tree.sum(&mut Table::unread(Root::Snapshot), &Selector::path("/")).unwrap();
    assert_eq!(tree.reads(), [""; 0]);
}

#[test]
fn what_was_told_is_never_read() {
    let tree = tree();
    let mut table = tree.told(Root::Local);
    let mut nobody = Memory::new();
    nobody.sum(&mut table, &Selector::path("/big")).unwrap();
    assert!(nobody.sum(&mut table, &Selector::path("/nowhere")).unwrap_err().is_not_found());
    assert_eq!(nobody.calls, [""; 0]);
    assert!(table.known(&[Selector::path("/nowhere")]).unwrap_err().is_not_found(), "that is known, too");
}

/// A source that goes wrong at one file, in one of several ways.
struct Wrong<'a> {
    tree: Memory,
    cancel: &'a CancellationToken,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Cancels,
    Shrinks,
    Grows,
    IsReplaced,
    Lies,
}

impl Source for Wrong<'_> {
    fn node(&mut self, path: &[u8]) -> lazyblob_cache::Result<Option<Node>> {
        self.tree.node(path)
    }

    fn list(&mut self, directory: &[u8]) -> lazyblob_cache::Result<Vec<(Vec<u8>, Node)>> {
        let mut list = self.tree.list(directory)?;
        if self.how == How::Lies {
            list.push((b"a/../../x".to_vec(), Node::File));
        }
        Ok(list)
    }

    fn meta(&mut self, path: &[u8]) -> lazyblob_cache::Result<Meta> {
        let meta = self.tree.meta(path)?;
        let is_it = path == b"other/x";
        Ok(match self.how {
            How::IsReplaced if is_it => Meta::new(Kind::Directory, 0o755),
            How::Shrinks if is_it => Meta { size: meta.size + 1, ..meta },
            How::Grows if is_it => Meta { size: meta.size - 1, ..meta },
            _ => meta,
        })
    }

    fn read(
        &mut self,
        path: &[u8],
        each: &mut dyn FnMut(&[u8]) -> lazyblob_cache::Result<()>,
    ) -> lazyblob_cache::Result<()> {
        if path == b"other/x" && self.how == How::Cancels {
            each(b"x")?;
            self.cancel.cancel();
        }
        self.tree.read(path, each)
    }
}

#[test]
fn what_goes_wrong_with_a_file_leaves_the_others_known() {
    let mut files = tree();
    files.add("other/x", Meta::new(Kind::File, 0o644), "more than a byte");
    for how in [How::Cancels, How::Shrinks, How::Grows, How::IsReplaced] {
        let cancel = CancellationToken::new();
        let mut source = Wrong { tree: files.clone(), cancel: &cancel, how };
        let mut table = Table::unread(Root::Snapshot);
        let error = table.checksum(&mut source, &[], &cancel).unwrap_err();
        match how {
            How::Cancels => assert!(matches!(error, Error::Cancelled { .. }), "{error}"),
            _ => assert!(
                error.to_string().ends_with("/other/x: it changed while it was read"),
                "{how:?} {error}"
            ),
        }
        files.calls.clear();
        files.sum(&mut table, &Selector::path("/")).unwrap();
        assert_eq!(files.reads(), ["other/x"], "{how:?}");
        assert_eq!(files.sum(&mut table, &Selector::path("/")).unwrap(), files.at("/"));
    }
    let cancel = CancellationToken::new();
    let mut source = Wrong { tree: files.clone(), cancel: &cancel, how: How::Lies };
    assert!(Table::unread(Root::Snapshot).checksum(&mut source, &[], &cancel).is_err());
    cancel.cancel();
    let error = Table::unread(Root::Snapshot).checksum(&mut files, &[], &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
}

#[test]
fn a_path_may_be_as_long_as_the_kernel_takes_it() {
    let mut tree = Memory::new();
    let mut path = Vec::new();
    while path.len() < 4090 {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.push(b'd');
        tree.add(path.clone(), Meta::new(Kind::Directory, 0o755), "");
    }
    // 2046 directories, one in the other.
    tree.fresh(&Selector::path("/")).unwrap();
    path.extend_from_slice(b"/long");
    tree.add(path, Meta::new(Kind::File, 0o644), "");
    let error = tree.fresh(&Selector::path("/")).unwrap_err();
    assert!(error.to_string().ends_with("longer than 4095 bytes"), "{error}");
}

#[test]
fn calls_are_as_many_as_there_are_files() {
    let mut tree = Memory::new();
    for at in 0..10_000 {
        tree.add(format!("file{at}"), Meta::new(Kind::File, 0o644), "x");
    }
    for at in 0..1000 {
        tree.add(format!("directory{at}"), Meta::new(Kind::Directory, 0o755), "");
        tree.add(format!("directory{at}/file"), Meta::new(Kind::File, 0o644), "x");
    }
    let mut table = Table::unread(Root::Snapshot);
    // All of it is listed, nothing is read.
    tree.sum(&mut table, &filtered("/", &[], &["**"])).unwrap();
    assert_eq!(tree.calls.len(), 1001);
    tree.calls.clear();
    tree.sum(&mut table, &Selector::path("/")).unwrap();
    // For a file what is said of it and what is in it, for a directory what is said of it.
    assert_eq!(tree.calls.len(), 2 * 11_000 + 1000);
}
