//! Trees that lie in directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use lazyblob_cache::Error;
use lazyblob_cache::contenthash::{
    Directory, FileHasher, Kind, Meta, Node, Root, Selector, Source as _, Sum, Table,
};
use lazyblob_remote::testing::not_run;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{header, wild};

fn sum(source: &mut Directory, selector: &Selector) -> lazyblob_cache::Result<Sum> {
    Table::unread(Root::Local).sum(source, selector, &CancellationToken::new())
}

fn of(meta: &Meta, content: &str) -> Sum {
    let mut hasher = FileHasher::new(&Meta { size: content.len() as u64, ..meta.clone() });
    hasher.update(content.as_bytes());
    hasher.finish()
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn files_of_every_kind_are_what_they_are() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(&at("file"), "content");
    fs::hard_link(at("file"), at("hard")).unwrap();
    symlink("file", at("link")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::set_permissions(at("socket"), Permissions::from_mode(0o600)).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let file = of(&Meta::new(Kind::File, 0o640), "content");
    let link = Meta { target: b"file".to_vec(), ..Meta::new(Kind::Symlink, 0) };
    let mut source = Directory::local(dir.path()).unwrap();
    for (name, expected) in [
        ("file", file),
        ("hard", file),
        ("link", FileHasher::new(&link).finish()),
        ("socket", of(&Meta::new(Kind::File, 0o600), "")),
        ("fifo", of(&Meta::new(Kind::Fifo, 0o400), "")),
    ] {
        assert_eq!(sum(&mut source, &Selector::path(name)).unwrap(), expected, "{name}");
    }
    assert_eq!(sum(&mut source, &Selector::followed("link")).unwrap(), file);
    let missing = sum(&mut source, &Selector::path("file/x")).unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}

#[test]
fn snapshots_have_owners_and_local_directories_have_devices() {
    if !rustix::process::geteuid().is_root() {
        not_run("digests of owners and devices", "it wants root");
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("null");
    let device = rustix::fs::makedev(1, 3);
    if let Err(error) = rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, device) {
        not_run("digests of devices", &error.to_string());
        return;
    }
    std::os::unix::fs::chown(&path, Some(3), Some(4)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let null = Meta::new(Kind::Character, 0o600);
    let mut snapshot = Directory::snapshot(dir.path()).unwrap();
    let owned = Meta { uid: 3, gid: 4, ..null.clone() };
    assert_eq!(sum(&mut snapshot, &Selector::path("/null")).unwrap(), of(&owned, ""));
    let mut local = Directory::local(dir.path()).unwrap();
    let numbered = Meta { device: (1, 3), ..null };
    assert_eq!(sum(&mut local, &Selector::path("/null")).unwrap(), of(&numbered, ""));
}

#[test]
fn attributes_count_and_so_does_the_mode_that_is_noted() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    write(&path, "x");
    let set =
        |name: &str, value: &str| rustix::fs::lsetxattr(&path, name, value.as_bytes(), XattrFlags::empty());
    if let Err(error) = set("user.b", "2") {
        not_run("digests of attributes", &error.to_string());
        return;
    }
    set("user.A", "1").unwrap();
    // What a plain snapshot notes of a file that its owner could not read.
    set("user.lazyblob.mode", "40").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    let xattrs = vec![(b"user.b".to_vec(), b"2".to_vec()), (b"user.A".to_vec(), b"1".to_vec())];
    let meta = Meta { xattrs, ..Meta::new(Kind::File, 0o040) };
    let mut source = Directory::local(dir.path()).unwrap();
    assert_eq!(sum(&mut source, &Selector::path("/f")).unwrap(), of(&meta, "x"));
}

#[test]
fn nothing_outside_is_ever_read() {
    let outside = TempDir::new().unwrap();
    write(&outside.path().join("secret"), "secret");
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    symlink("../secret", root.join("up")).unwrap();
    symlink(outside.path(), root.join("absolute")).unwrap();
    let mut source = Directory::local(&root).unwrap();
    for path in ["/up", "/absolute/secret", "../secret"] {
        let error = sum(&mut source, &Selector::followed(path)).unwrap_err();
        assert!(error.is_not_found(), "{path}: {error}");
    }
    // Inside, the same words lead elsewhere.
    write(&root.join("secret"), "inside");
    assert_eq!(
        sum(&mut source, &Selector::followed("/up")).unwrap(),
        of(&Meta::new(Kind::File, 0o640), "inside")
    );
}

#[test]
fn what_becomes_a_link_meanwhile_is_not_followed() {
    let outside = TempDir::new().unwrap();
    let root = outside.path().join("root");
    fs::create_dir_all(root.join("d")).unwrap();
    write(&root.join("d/f"), "inside");
    fs::create_dir(outside.path().join("other")).unwrap();
    write(&outside.path().join("other/f"), "outside");
    let mut source = Directory::local(&root).unwrap();
    assert_eq!(source.node(b"d/f").unwrap(), Some(Node::File));
    fs::rename(root.join("d"), root.join("old")).unwrap();
    symlink("../other", root.join("d")).unwrap();
    // The directory that is open is still the one it was.
    source.meta(b"d/f").unwrap();
    let mut read = Vec::new();
    source
        .read(b"d/f", &mut |piece| {
            read.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    assert_eq!(read, b"inside");
    let mut fresh = Directory::local(&root).unwrap();
    assert_eq!(fresh.node(b"d/f").unwrap(), None);
    assert!(matches!(fresh.meta(b"d/f").unwrap_err(), Error::Io { .. }));
    assert!(matches!(fresh.list(b"d").unwrap_err(), Error::Io { .. }));
    let error = fresh.read(b"d/f", &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("root/d/f: "), "it says which file: {error}");
    assert!(fresh.meta(b"old/gone").unwrap_err().is_not_found());
}

#[test]
fn a_pipe_in_place_of_a_file_holds_nobody_up() {
    let dir = TempDir::new().unwrap();
    rustix::fs::mknodat(CWD, dir.path().join("p"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut source = Directory::local(dir.path()).unwrap();
    source.read(b"p", &mut |_| panic!("it is empty")).unwrap();
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let dir = TempDir::new().unwrap();
    let error = Directory::snapshot(&dir.path().join("none")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    write(&dir.path().join("file"), "");
    assert!(Directory::local(&dir.path().join("file")).is_err());
}

/// Reads of a directory of any size and of directories of any depth take calls in proportion to what is there.
#[test]
fn large_directories_are_read_in_one_go() {
    let dir = TempDir::new().unwrap();
    let mut expected = vec![];
    for at in 0..3000 {
        let name = format!("f{at:05}");
        fs::write(dir.path().join(&name), "x").unwrap();
        fs::set_permissions(dir.path().join(&name), Permissions::from_mode(0o644)).unwrap();
        expected.extend(
            [b"\0", name.as_bytes(), of(&Meta::new(Kind::File, 0o644), "x").to_string().as_bytes()].concat(),
        );
    }
    let mut source = Directory::local(dir.path()).unwrap();
    assert_eq!(sum(&mut source, &wild("/f*")).unwrap(), Sum::of(&expected));
    let root = Sum::of(b"").to_string();
    let whole = [b"\0", root.as_bytes(), &expected].concat();
    assert_eq!(sum(&mut source, &Selector::path("/")).unwrap(), Sum::of(&whole));
}

#[test]
fn deep_directories_are_read_by_their_parts() {
    let dir = TempDir::new().unwrap();
    let mut at = dir.path().to_owned();
    let mut sums = Vec::new();
    for _ in 0..200 {
        at.push("d");
        fs::create_dir(&at).unwrap();
        fs::set_permissions(&at, Permissions::from_mode(0o755)).unwrap();
        sums.push(());
    }
    let mut expected = Sum::of(format!("\0{}", header(0o755)).as_bytes());
    for _ in 1..sums.len() {
        expected = Sum::of(format!("\0{}\0d{expected}", header(0o755)).as_bytes());
    }
    assert_eq!(sum(&mut Directory::local(dir.path()).unwrap(), &Selector::path("/d")).unwrap(), expected);
}
