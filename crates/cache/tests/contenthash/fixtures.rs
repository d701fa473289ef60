//! What BuildKit computed of trees is what we compute.

use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lazyblob_cache::contenthash::{
    Directory, FileHasher, Kind, Meta, Node, Part, Root, Selector, Source, Sum, Table,
};
use lazyblob_cache::layer::{Form, Options, apply};
use lazyblob_remote::testing::not_run;
use oci_spec::image::Digest;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{Memory, expected, records};

const TREES: [&str; 4] = ["tree", "odd", "base", "local"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/contenthash").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn sum(value: &str) -> Sum {
    Sum::from_digest(&value.parse::<Digest>().unwrap()).unwrap()
}

fn number(value: &Value, field: &str) -> u32 {
    value[field].as_u64().unwrap_or_default().try_into().unwrap()
}

fn meta(record: &Value) -> Meta {
    let kind = match text(record, "type") {
        "d" => Kind::Directory,
        "f" => Kind::File,
        "l" => Kind::Symlink,
        "p" => Kind::Fifo,
        "b" => Kind::Block,
        "c" => Kind::Character,
        other => panic!("{other}"),
    };
    let mode = u32::from_str_radix(text(record, "mode").trim_start_matches("0o"), 8).unwrap();
    let mut meta = Meta::new(kind, mode);
    (meta.uid, meta.gid) = (number(record, "uid"), number(record, "gid"));
    meta.size = number(record, "size").into();
    meta.target = text(record, "link").into();
    let bytes = |hex: &str| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    meta.xattrs = record["xattrs"].as_object().map_or(Vec::new(), |xattrs| {
        xattrs.iter().map(|(name, hex)| (name.clone().into_bytes(), bytes(hex.as_str().unwrap()))).collect()
    });
    meta
}

/// The tree of this name in memory; the one large file has no content.
fn memory(name: &str) -> Memory {
    let (all, smaller) = (json("records.json"), json("selectors.json"));
    let of = if all[name].is_array() { &all[name] } else { &smaller["trees"][name] };
    let mut tree = Memory::new();
    for record in of.as_array().unwrap().iter().filter(|record| record["type"].is_string()) {
        tree.add(&text(record, "path")[1..], meta(record), text(record, "data"));
    }
    tree
}

fn root(tree: &str) -> Root {
    if tree == "local" { Root::Local } else { Root::Snapshot }
}

/// The tree of this name as it was told; what is in the large file is told, too.
fn told(name: &str) -> Table {
    let mut table = memory(name).told(root(name));
    if name == "base" {
        let all = json("records.json");
        let mut base = all["base"].as_array().unwrap().iter();
        let large = base.find(|record| text(record, "path") == "/bin/busybox").unwrap();
        table.insert(b"/bin/busybox", Node::File, Some(sum(text(large, "digest")))).unwrap();
    }
    table
}

/// Compares all records of a table with BuildKit's, in order.
fn compare(name: &str, table: &mut Table, source: &mut dyn Source) {
    let all = json("records.json");
    let theirs = all[name].as_array().unwrap();
    let ours = records(table, source);
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for ((path, part, ours), theirs) in ours.iter().zip(theirs) {
        let kind = match part {
            Part::Tree => "tree",
            Part::Header => "header",
            Part::Symlink | Part::File => "file",
        };
        assert_eq!((path.as_str(), kind), (text(theirs, "path"), text(theirs, "record")), "{name}");
        assert_eq!(ours.to_string(), text(theirs, "digest"), "{name} {path} {part:?}");
    }
}

#[test]
fn what_is_hashed_of_each_file_is_what_buildkit_hashes() {
    let all = json("records.json");
    let mut seen = 0;
    for tree in TREES {
        for record in all[tree].as_array().unwrap().iter().filter(|record| record["type"].is_string()) {
            let path = text(record, "path");
            if record["headerPreimage"].is_string() {
                let header: String = meta(record).header().iter().copied().map(char::from).collect();
                assert_eq!(header, text(record, "headerPreimage"), "{tree} {path}");
            }
            // The root of what was sent has no record of its own, and one file's content is left out.
            if (tree, path) == ("local", "/") || text(record, "type") == "f" && record["data"].is_null() {
                continue;
            }
            let mut hasher = FileHasher::new(&meta(record));
            hasher.update(text(record, "data").as_bytes());
            assert_eq!(hasher.finish(), sum(text(record, "digest")), "{tree} {path}");
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn trees_that_were_told_have_the_records_of_buildkit() {
    for tree in TREES {
        compare(tree, &mut told(tree), &mut Memory::new());
    }
}

#[test]
fn trees_that_are_read_have_the_records_of_buildkit() {
    for tree in ["tree", "odd", "local"] {
        compare(tree, &mut Table::unread(root(tree)), &mut memory(tree));
    }
}

/// Unpacks one of the archives into a directory.
fn unpack(archive: &str, into: &Path) {
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(fixture(archive)).unwrap())
        .read_to_end(&mut tar)
        .unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let options = if is_root { Options::privileged(Form::Tree) } else { Options::unprivileged(Form::Tree) };
    apply(tar.as_slice(), into, &options, &CancellationToken::new()).unwrap();
}

#[test]
fn layers_on_disk_have_the_records_of_buildkit() {
    if !rustix::process::geteuid().is_root() {
        not_run("digests of devices and owners", "it wants root");
        return;
    }
    let dir = TempDir::new().unwrap();
    unpack("odd-1.tar.gz", dir.path());
    unpack("odd-2.tar.gz", dir.path());
    // A hard link's entry says nothing of the file to us. BuildKit's apply gives the file the mode it says.
    let suid = dir.path().join("t/suid");
    assert_eq!(suid.metadata().unwrap().permissions().mode() & 0o7777, 0o4755);
    std::fs::set_permissions(&suid, Permissions::from_mode(0o644)).unwrap();
    let mut source = Directory::snapshot(dir.path()).unwrap();
    compare("odd", &mut Table::unread(Root::Snapshot), &mut source);
    let own = Meta { uid: 7, gid: 8, ..Meta::new(Kind::Directory, 0o711) };
    let found = records(&mut Table::unread(Root::AsFound), &mut source);
    assert_eq!(found[1].2, FileHasher::new(&own).finish(), "our layers do say what the root is");
}

#[test]
fn a_local_directory_on_disk_has_the_records_of_buildkit() {
    let dir = TempDir::new().unwrap();
    unpack("local.tar.gz", dir.path());
    let mut source = Directory::local(&dir.path().join("ctx")).unwrap();
    compare("local", &mut Table::unread(Root::Local), &mut source);
}

fn selector(value: &Value) -> Selector {
    let list = |field: &str| {
        let list = value[field].as_array().into_iter().flatten();
        list.map(|pattern| pattern.as_str().unwrap().to_owned()).collect()
    };
    let is = |field: &str| value[field].as_bool().unwrap_or_default();
    Selector {
        path: text(value, "path").to_owned(),
        follow: is("follow"),
        wildcard: is("wild"),
        include: list("inc"),
        exclude: list("exc"),
        required: list("req"),
    }
}

#[test]
fn what_build_steps_read_has_the_digest_of_buildkit() {
    let all = json("selectors.json");
    for case in all["cases"].as_array().unwrap() {
        let (name, tree) = (text(case, "name"), text(case, "tree"));
        let theirs = case["selectors"].as_array().unwrap();
        let selectors: Vec<_> = theirs.iter().map(selector).collect();
        let whole = text(case, "contentDigest");
        if tree == "odd-lower" {
            let dir = TempDir::new().unwrap();
            if rustix::process::geteuid().is_root() {
                unpack("odd-1.tar.gz", dir.path());
                let mut source = Directory::snapshot(dir.path()).unwrap();
                let digest = Table::unread(Root::Snapshot).checksum(
                    &mut source,
                    &selectors,
                    &CancellationToken::new(),
                );
                assert_eq!(digest.unwrap().to_string(), whole, "{name}");
            } else {
                not_run("the digest of a layer's file", "it wants root");
            }
            continue;
        }
        let mut sources = vec![(told(tree), Memory::new())];
        // What the large file of the other one has in it is not here.
        if tree != "base" {
            sources.push((Table::unread(root(tree)), memory(tree)));
        }
        for (mut table, mut source) in sources {
            for (selector, theirs) in selectors.iter().zip(theirs) {
                let ours = source.sum(&mut table, selector).unwrap();
                assert_eq!(ours.to_string(), text(theirs, "digest"), "{name} {selector:?}");
                check_files(selector, theirs, ours);
            }
            let digest = table.checksum(&mut source, &selectors, &CancellationToken::new()).unwrap();
            assert_eq!(digest.to_string(), whole, "{name}");
        }
    }
}

/// Checks that a digest is of the files that BuildKit says it took, so that the cases cannot be mixed up.
fn check_files(selector: &Selector, theirs: &Value, ours: Sum) {
    let Some(files) = theirs["files"].as_array() else { return };
    let prefix = match selector.path.find('*').or_else(|| selector.path.find('[')) {
        Some(at) if selector.wildcard => selector.path[..at].rsplit_once('/').unwrap().0,
        _ => selector.path.trim_end_matches('/'),
    };
    let entries: Vec<_> = files
        .iter()
        .map(|file| {
            let (path, digest) = (file[0].as_str().unwrap(), file[1].as_str().unwrap());
            (path.strip_prefix(prefix).unwrap(), sum(digest))
        })
        .collect();
    assert_eq!(ours, expected(&entries), "{selector:?}");
}

#[test]
fn lists_are_made_as_buildkit_makes_them() {
    let all = json("selectors.json");
    for case in all["cases"].as_array().unwrap() {
        let selectors: Vec<_> = case["selectors"].as_array().unwrap().iter().map(selector).collect();
        let mut given = selectors.clone();
        given.reverse();
        let name = text(case, "name");
        if name.starts_with("exec") && selectors.iter().all(|selector| selector.path != "/") {
            let paths = given.iter().map(|selector| selector.path.clone()).collect();
            assert_eq!(Selector::of_mounts(paths), selectors, "{name}");
        } else {
            assert_eq!(Selector::of_copies(given), selectors, "{name}");
        }
    }
}
