//! Every kind of entry, and every way to write one.

use std::path::Path;

use lazyblob_cache::layer::{Form, Options};
use lazyblob_cache::testing::tars::{Header, Tar};
use lazyblob_cache::testing::tree::Kind;

use crate::support::{Target, is_root};

#[test]
fn files_of_every_kind_have_what_their_entries_say() {
    if !is_root("files of every kind") {
        return;
    }
    let tar = Tar::new()
        .entry(&Header::new(b'5', "./").mode(0o751).mtime(7), [])
        .dir("d/", 0o555)
        .entry(&Header::new(b'0', "d/f").mode(0o640).owner(7, 8).mtime(9), "content")
        .entry(&Header::new(b'0', "d/suid").mode(0o6755).owner(1, 2), "x")
        .symlink("link", "/etc/../d/f")
        .link("hard", "d/f")
        .link("hardsym", "link")
        .entry(&Header::new(b'3', "c").device(1, 3).mode(0o666), [])
        .entry(&Header::new(b'4', "b").device(259, 70000).mode(0o660).owner(0, 6), [])
        .entry(&Header::new(b'6', "p").mode(0o600), [])
        .end();
    for form in [Form::Tree, Form::Overlay, Form::Plain] {
        let target = Target::new();
        let applied = target.apply(&tar, form).unwrap();
        let tree = target.tree();
        assert_eq!(tree.names(), ["b", "c", "d", "d/f", "d/suid", "hard", "hardsym", "link", "p"]);
        assert_eq!((tree.get("").unwrap().mode, tree.get("").unwrap().mtime), (0o751, (7, 0)));
        let directory = tree.get("d").unwrap();
        assert_eq!(
            (directory.mode, directory.mtime),
            (0o555, (1_700_000_000, 0)),
            "written into, then settled"
        );
        let file = tree.get("d/f").unwrap();
        assert_eq!((file.mode, file.owner, file.mtime), (0o640, (7, 8), (9, 0)));
        assert_eq!(tree.get("hard").unwrap().link.as_deref(), Some(Path::new("d/f")));
        assert_eq!(tree.get("hardsym").unwrap().link.as_deref(), Some(Path::new("hardsym")));
        assert_eq!(tree.get("d/suid").unwrap().mode, 0o6755, "a change of owner does not clear it");
        assert_eq!(tree.get("link").unwrap().kind, Kind::Symlink("/etc/../d/f".into()));
        assert_eq!(tree.get("link").unwrap().mtime.0, 1_700_000_000);
        assert_eq!(tree.get("c").unwrap().kind, Kind::Character(1, 3));
        assert_eq!(tree.get("c").unwrap().mode, 0o666);
        assert_eq!(tree.get("b").unwrap().kind, Kind::Block(259, 70000));
        assert_eq!(tree.get("b").unwrap().owner, (0, 6));
        assert_eq!(tree.get("p").unwrap().kind, Kind::Fifo);
        assert_eq!(applied.skipped, Default::default());
        assert_eq!(applied.size, tar.len() as u64);
        assert!(applied.pending.implied.is_empty() && applied.pending.links.is_empty());
        let own = u64::from(form != Form::Tree);
        assert_eq!(applied.usage.inodes, 7 + own, "two names are no inodes of their own");
    }
}

#[test]
fn without_privileges_devices_and_special_bits_are_counted_and_left_out() {
    let tar = Tar::new()
        .dir("d", 0o500)
        .entry(&Header::new(b'0', "d/f").mode(0o4755).owner(7, 8), "x")
        .entry(&Header::new(b'3', "d/c").device(1, 3), [])
        .pax(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02"), ("SCHILY.xattr.user.a", b"b")])
        .entry(&Header::new(b'0', "d/ro").mode(0o444), "x")
        .entry(&Header::new(b'6', "d/p"), [])
        .end();
    let target = Target::new();
    let applied = target.apply_with(&tar, &Options::unprivileged(Form::Tree)).unwrap();
    let tree = target.tree();
    assert_eq!(tree.names(), ["d", "d/f", "d/p", "d/ro"]);
    assert_eq!(tree.get("d").unwrap().mode, 0o500);
    let file = tree.get("d/f").unwrap();
    assert_eq!(
        (file.mode, file.owner),
        (0o755, (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()))
    );
    let xattrs: Vec<_> = tree.get("d/ro").unwrap().xattrs.iter().collect();
    assert_eq!(xattrs, [(&"user.a".to_owned(), &b"b".to_vec())]);
    assert_eq!((applied.skipped.devices, applied.skipped.setuid, applied.skipped.xattrs), (1, 1, 1));
}

#[test]
fn what_is_no_images_is_never_taken_from_a_tar() {
    if !is_root("what steers overlayfs") {
        return;
    }
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.user.lazyblob.mode", b"4755"),
            ("SCHILY.xattr.trusted.other", b"z"),
        ])
        .dir("d", 0o755)
        .end();
    let target = Target::new();
    let applied = target.apply(&tar, Form::Overlay).unwrap();
    let names: Vec<_> = target.tree().get("d").unwrap().xattrs.keys().cloned().collect();
    assert_eq!(names, ["trusted.other"]);
    assert_eq!(applied.skipped.xattrs, 4);
    let tar = Tar::new().entry(&Header::new(b'3', "x").device(0, 0), []).end();
    let error = target.apply(&tar, Form::Overlay).unwrap_err().to_string();
    assert!(error.contains("refused: x: a character device 0/0"), "{error}");
}

#[test]
fn names_and_numbers_may_be_written_in_many_ways() {
    if !is_root("names and numbers") {
        return;
    }
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let target_name = format!("/{}", "t".repeat(300));
    let tar = Tar::new()
        .gnu_long(b'L', &long)
        .entry(&Header::new(b'0', "short").gnu(), "gnu")
        .gnu_long(b'K', &target_name)
        .entry(&Header::new(b'2', "gnulink").gnu().link("short"), [])
        .pax(&[
            ("path", b"pax\xff\nname"),
            ("mtime", b"-1.25"),
            ("uid", b"3000000000"),
            ("gid", b"4"),
            ("hdrcharset", b"BINARY"),
            ("uname", b"nobody"),
            ("SCHILY.xattr.user.bin", b"\0\n=\xff"),
            ("LIBARCHIVE.xattr.user.a%3Db", b"aGk="),
            ("LIBARCHIVE.xattr.user.bin", b"aGk="),
        ])
        .entry(&Header::new(b'0', "other"), "pax")
        .extended(b'g', &[("mtime", b"5"), ("path", b"no")])
        .entry(&Header::new(b'0', "tail").patch(345, "pre/fix"), "ustar")
        .entry(&Header::new(b'0', "binary").gnu().patch(124, [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]), "abc")
        .entry(&Header::new(0, "v7dir/").v7(), [])
        .entry(&Header::new(0, "v7file").v7(), "old")
        .entry(&Header::new(b'7', "contiguous"), "c")
        .entry(&Header::new(b'5', "sized").size(5), [])
        .entry(&Header::new(b'0', "/abs/./x//y"), "abs")
        .end();
    let target = Target::new();
    target.apply(&tar, Form::Tree).unwrap();
    let tree = target.tree();
    let size = |name: &str| match &tree.get(name).unwrap().kind {
        Kind::File { size, .. } => *size,
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(size(&long), 3);
    assert_eq!(tree.get("gnulink").unwrap().kind, Kind::Symlink(target_name.into()));
    use std::os::unix::ffi::OsStrExt as _;
    let pax = tree.get(std::ffi::OsStr::from_bytes(b"pax\xff\nname")).unwrap();
    assert_eq!((pax.mtime, pax.owner), ((-2, 750_000_000), (3_000_000_000, 4)));
    assert_eq!(pax.xattrs["user.bin"], b"\0\n=\xff");
    assert_eq!(pax.xattrs["user.a=b"], b"hi");
    assert_eq!(size("pre/fix/tail"), 5);
    assert_eq!(tree.get("pre/fix/tail").unwrap().mtime.0, 1_700_000_000, "a global header says nothing");
    assert_eq!((size("binary"), size("v7file"), size("contiguous"), size("abs/x/y")), (3, 3, 1, 3));
    assert_eq!(tree.get("v7dir").unwrap().kind, Kind::Directory);
    assert_eq!(tree.get("sized").unwrap().kind, Kind::Directory);
}

fn sparse_content(tree: &lazyblob_cache::testing::Tree, name: &str) -> (u64, Vec<(u64, u64)>) {
    match &tree.get(name).unwrap().kind {
        Kind::File { size, data, .. } => (*size, data.clone()),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn holes_stay_holes_in_every_form() {
    let (page, size) = (4096_u64, 1 << 20);
    let data = vec![b'x'; 4096];
    let octal = |value: u64| format!("{value:011o}\0").into_bytes();
    let old = Header::new(b'S', "old")
        .gnu()
        .patch(386, [octal(page * 4), octal(page), octal(size), octal(0)].concat())
        .patch(483, octal(size));
    let mut map = format!("2\n{}\n{page}\n{size}\n0\n", page * 4).into_bytes();
    map.resize(512, 0);
    let (real, at) = (size.to_string(), (page * 4).to_string());
    let (real, at) = (real.as_bytes(), at.as_bytes());
    let tar = Tar::new()
        .entry(&old, &data)
        .pax(&[
            ("GNU.sparse.size", real),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.offset", at),
            ("GNU.sparse.numbytes", b"4096"),
        ])
        .entry(&Header::new(b'0', "v00"), &data)
        .pax(&[
            ("GNU.sparse.size", real),
            ("GNU.sparse.name", b"v01"),
            ("GNU.sparse.map", b"16384,4096,1048576,0"),
        ])
        .entry(&Header::new(b'0', "GNUSparseFile.0/v01"), &data)
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"v10"),
            ("GNU.sparse.realsize", real),
        ])
        .entry(&Header::new(b'0', "GNUSparseFile.0/v10"), [map, data.clone()].concat())
        .file("after", "x")
        .end();
    let target = Target::new();
    let applied = target.apply(&tar, Form::Tree).unwrap();
    let tree = target.tree();
    assert_eq!(tree.names(), ["after", "old", "v00", "v01", "v10"]);
    for name in ["old", "v00", "v01", "v10"] {
        assert_eq!(sparse_content(&tree, name), (size, vec![(page * 4, page * 5)]), "{name}");
    }
    assert!(applied.usage.bytes < size, "holes take nothing: {}", applied.usage.bytes);
}

/// The kernel has 64 KiB for the names of a file's attributes; more are told in time that grows with their number alone.
#[test]
fn more_attributes_than_a_file_can_have_are_refused() {
    let names: Vec<String> = (0..30_000).map(|number| format!("SCHILY.xattr.user.{number:x}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let target = Target::new();
    let error = target.apply(&Tar::new().pax(&records).file("f", "f").end(), Form::Tree).unwrap_err();
    assert!(matches!(error, lazyblob_cache::Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("more xattrs than a file can have"), "{error}");
    // One name many times is one attribute: what is said last counts.
    let mut records = vec![("SCHILY.xattr.user.one", &b"first"[..]); 30_000];
    records.push(("SCHILY.xattr.user.one", b"last"));
    target.apply(&Tar::new().pax(&records).file("f", "f").end(), Form::Tree).unwrap();
    assert_eq!(target.tree().get("f").unwrap().xattrs["user.one"], b"last");
}
