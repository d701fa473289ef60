//! Images that try what can be tried: layers for every rule of whiteouts and links, and layers that want to get out.
//!
//! [`images`] are odd and right: whoever unpacks images makes the same tree of each. [`refused`] are wrong, and what is said
//! of them is part of the list.

use super::tars::{Header, Tar};

/// An image: its name, and the tars of its layers from the bottom.
pub type Image = (&'static str, Vec<Vec<u8>>);

/// An image that is not to be unpacked: its name, its layers, and a part of what is said of the last one.
pub type Refusal = (&'static str, Vec<Vec<u8>>, &'static str);

/// Odd images of which everybody makes the same tree.
#[must_use]
pub fn images() -> Vec<Image> {
    let mut images = whiteouts();
    images.extend(replacements());
    images.extend(paths());
    images.extend(metadata());
    images
}

/// A tree that other layers change.
fn base() -> Vec<u8> {
    Tar::new()
        .dir("./", 0o755)
        .dir("d", 0o755)
        .file("d/one", "1")
        .file("d/two", "2")
        .dir("d/sub", 0o750)
        .file("d/sub/deep", "deep")
        .file("f", "f")
        .symlink("l", "d")
        .dir("e", 0o711)
        .file("e/x", "x")
        .end()
}

fn whiteouts() -> Vec<Image> {
    vec![
        ("whiteout of a file", vec![base(), Tar::new().dir("d", 0o755).whiteout("d/", "one").end()]),
        ("whiteout of a directory", vec![base(), Tar::new().whiteout("", "d").end()]),
        ("whiteout of a link, not of what it links to", vec![base(), Tar::new().whiteout("", "l").end()]),
        ("whiteout of nothing", vec![base(), Tar::new().whiteout("", "nothing").whiteout("d/", "no").end()]),
        (
            "whiteout, then the same anew",
            vec![base(), Tar::new().whiteout("", "d").dir("d", 0o700).file("d/new", "n").end()],
        ),
        ("whiteout, then a file", vec![base(), Tar::new().whiteout("", "d").file("d", "file").end()]),
        ("whiteout behind the new file", vec![base(), Tar::new().file("f", "new").whiteout("", "f").end()]),
        (
            "whiteout behind the new directory",
            vec![base(), Tar::new().dir("d", 0o700).file("d/new", "n").whiteout("", "d").end()],
        ),
        (
            "opaque directory",
            vec![base(), Tar::new().dir("d", 0o755).whiteout("d/", ".wh..opq").file("d/new", "n").end()],
        ),
        (
            "opaque mark behind new files",
            vec![
                base(),
                Tar::new()
                    .dir("d", 0o755)
                    .file("d/new", "n")
                    .dir("d/sub", 0o701)
                    .whiteout("d/", ".wh..opq")
                    .end(),
            ],
        ),
        ("opaque root", vec![base(), Tar::new().whiteout("", ".wh..opq").file("only", "o").end()]),
        (
            "whiteout of what the same layer opaquely hides",
            vec![base(), Tar::new().dir("d", 0o755).whiteout("d/", ".wh..opq").whiteout("d/", "one").end()],
        ),
        (
            "a whiteout in a directory that no layer below has",
            vec![base(), Tar::new().dir("v", 0o755).whiteout("v/", "x").end()],
        ),
        (
            "back after two layers",
            vec![
                base(),
                Tar::new().whiteout("", "d").end(),
                Tar::new().dir("d", 0o755).file("d/two", "again").end(),
            ],
        ),
    ]
}

fn replacements() -> Vec<Image> {
    vec![
        ("a file for a directory", vec![base(), Tar::new().file("d", "file").end()]),
        ("a directory for a file", vec![base(), Tar::new().dir("f", 0o755).file("f/in", "i").end()]),
        ("a directory for a link", vec![base(), Tar::new().dir("l", 0o755).file("l/in", "i").end()]),
        ("a link for a directory", vec![base(), Tar::new().symlink("d", "e").end()]),
        ("a file for a link", vec![base(), Tar::new().file("l", "file").end()]),
        (
            "the last of the same name",
            vec![
                Tar::new()
                    .file("a", "1")
                    .file("a", "2")
                    .dir("b", 0o700)
                    .file("b/in", "i")
                    .file("b", "file")
                    .end(),
            ],
        ),
        (
            "a file, a directory, the one below hidden",
            vec![base(), Tar::new().file("d", "file").dir("d", 0o755).file("d/new", "n").end()],
        ),
        (
            "one of two names is written anew",
            vec![Tar::new().file("a", "first").link("b", "a").end(), Tar::new().file("a", "second").end()],
        ),
    ]
}

fn paths() -> Vec<Image> {
    let long: String = ["p".repeat(60), "q".repeat(120), "r".repeat(255)].join("/");
    vec![
        (
            "names with dots and slashes",
            vec![
                Tar::new()
                    .dir("./a/", 0o755)
                    .file("/a/abs", "1")
                    .file("a/./b/../c", "2")
                    .file("./a//d", "3")
                    .end(),
            ],
        ),
        (
            "through a link of the same layer",
            vec![Tar::new().dir("real", 0o755).symlink("way", "real").file("way/in", "i").end()],
        ),
        (
            "through an absolute link, which is the image's",
            vec![Tar::new().dir("real", 0o755).symlink("way", "/real").file("way/in", "i").end()],
        ),
        (
            "through a link that climbs above the root",
            vec![Tar::new().dir("real", 0o755).symlink("way", "../../../real").file("way/in", "i").end()],
        ),
        (
            "a hard link through a link",
            vec![
                Tar::new()
                    .dir("real", 0o755)
                    .file("real/f", "f")
                    .symlink("way", "/real")
                    .link("hard", "way/f")
                    .end(),
            ],
        ),
        ("a hard link to an absolute name", vec![Tar::new().file("f", "f").link("hard", "/f").end()]),
        ("a hard link to a symbolic one", vec![Tar::new().symlink("s", "nowhere").link("hard", "s").end()]),
        (
            "a hard link to a layer below",
            vec![base(), Tar::new().link("hard", "d/one").link("e/soft", "l").end()],
        ),
        (
            "long names",
            vec![
                Tar::new()
                    .pax(&[("path", long.as_bytes())])
                    .file("short", "pax")
                    .gnu_long(b'L', format!("g/{long}"))
                    .file("short", "gnu")
                    .gnu_long(b'K', "t".repeat(500))
                    .symlink("link", "cut")
                    .end(),
            ],
        ),
    ]
}

fn metadata() -> Vec<Image> {
    vec![
        (
            "modes and owners",
            vec![
                Tar::new()
                    .entry(&Header::new(b'5', "./").mode(0o711).owner(3, 4).mtime(1), [])
                    .entry(&Header::new(b'0', "suid").mode(0o6711).owner(5, 6), "s")
                    .entry(&Header::new(b'5', "sticky").mode(0o1777), [])
                    .entry(&Header::new(b'5', "setgid").mode(0o2775).owner(0, 50), [])
                    .entry(&Header::new(b'5', "closed").mode(0).mtime(2), [])
                    .file("closed/in", "i")
                    .entry(&Header::new(b'2', "sym").owner(7, 8).link("suid").mode(0o777), [])
                    .end(),
            ],
        ),
        (
            "times to the nanosecond",
            vec![
                Tar::new()
                    .pax(&[("mtime", b"1500000000.123456789")])
                    .file("ns", "n")
                    .pax(&[("mtime", b"1400000000.5")])
                    .dir("dir", 0o755)
                    .file("dir/later", "l")
                    .end(),
            ],
        ),
        (
            "xattrs",
            vec![
                Tar::new()
                    .pax(&[("SCHILY.xattr.user.one", b"1"), ("SCHILY.xattr.user.bin", b"\0\n\xff")])
                    .file("f", "f")
                    .pax(&[("SCHILY.xattr.user.dir", b"d")])
                    .dir("dir", 0o755)
                    .pax(&[(
                        "SCHILY.xattr.security.capability",
                        b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                    )])
                    .entry(&Header::new(b'0', "ping").mode(0o755).owner(1, 1), "p")
                    .end(),
                // A new entry of a directory takes the old xattrs away.
                Tar::new().dir("dir", 0o711).end(),
            ],
        ),
        (
            "devices and pipes",
            vec![
                Tar::new()
                    .entry(&Header::new(b'3', "null").device(1, 3).mode(0o666), [])
                    .entry(&Header::new(b'4', "disk").device(8, 300).mode(0o660).owner(0, 6), [])
                    .entry(&Header::new(b'6', "pipe").mode(0o622), [])
                    .end(),
            ],
        ),
        (
            "a directory that no layer changes keeps its time",
            vec![base(), Tar::new().file("d/sub/new", "n").whiteout("e/", "x").end()],
        ),
    ]
}

/// Images that are wrong, each in its last layer.
#[must_use]
pub fn refused() -> Vec<Refusal> {
    let one = |tar: Tar| vec![tar.end()];
    let long = "n".repeat(256);
    let deep = "d/".repeat(2100);
    let mut cases = vec![
        (
            "a name that climbs",
            one(Tar::new().file("../escaped", "x")),
            "refused: ../escaped: its name leads out",
        ),
        ("one that climbs later", one(Tar::new().file("a/../../escaped", "x")), "leads out of the root"),
        ("a whiteout that climbs", one(Tar::new().whiteout("../", "victim")), "leads out of the root"),
        ("a whiteout of .", one(Tar::new().whiteout("", ".")), "refused: .wh..: a whiteout of no name"),
        ("a whiteout of ..", one(Tar::new().whiteout("d/", "..")), "a whiteout of no name"),
        ("a whiteout of nothing at all", one(Tar::new().whiteout("d/", "")), "a whiteout of no name"),
        ("something in a whiteout", one(Tar::new().file(".wh.d/x", "x")), "something lies in a whiteout"),
        ("a hard link that climbs", one(Tar::new().link("h", "../victim")), "leads out of the root"),
        (
            "a hard link out through a link",
            one(Tar::new().symlink("up", "..").link("h", "up/victim")),
            "not there",
        ),
        (
            "a hard link to a whiteout",
            one(Tar::new().whiteout("", "x").link("h", ".wh.x")),
            "links to a whiteout",
        ),
        (
            "into a whiteout through a link",
            one(Tar::new().symlink("s", ".wh.d").file("s/x", "x")),
            "refused: s/x: something lies in a whiteout",
        ),
        ("a hard link to itself", one(Tar::new().file("h", "x").link("h", "./h")), "it links to itself"),
        (
            "a hard link to what it lies over",
            one(Tar::new().file("h/x", "x").link("h", "h/x")),
            "links to itself",
        ),
        (
            "a hard link to a directory",
            one(Tar::new().dir("d", 0o755).link("h", "d")),
            "it links to a directory",
        ),
        ("a hard link to the root", one(Tar::new().link("h", "/")), "it links to the root"),
        ("a file in a file", one(Tar::new().file("f", "x").file("f/in", "x")), "f is not a directory"),
        (
            "links round and round",
            one(Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "x")),
            "round and round",
        ),
        ("a link to nothing", one(Tar::new().symlink("s", "")), "it is a link to nothing"),
        ("a root that is a file", one(Tar::new().file("./", "x")), "the root can be nothing but a directory"),
        ("a name with a NUL", one(Tar::new().pax(&[("path", b"a\0b")]).file("x", "")), "path makes no sense"),
        (
            "a name too long",
            one(Tar::new().pax(&[("path", long.as_bytes())]).file("x", "")),
            "longer than 255 bytes",
        ),
        (
            "a way too long",
            one(Tar::new().pax(&[("path", deep.as_bytes())]).dir("x", 0)),
            "longer than 4095 bytes",
        ),
        (
            "overlayfs's whiteout",
            one(Tar::new().entry(&Header::new(b'3', "w"), [])),
            "a character device 0/0",
        ),
        ("an unknown type", one(Tar::new().entry(&Header::new(b'Z', "z"), [])), "the unknown type 'Z'"),
    ];
    cases.extend(malformed());
    cases
}

fn malformed() -> Vec<Refusal> {
    let one = |tar: Tar| vec![tar.end()];
    let sparse = |records: &[(&str, &[u8])]| {
        let header = Header::new(b'0', "s");
        vec![Tar::new().pax(records).entry(&header, "12345678").end()]
    };
    let size = |bytes: &[u8]| vec![Tar::new().entry(&Header::new(b'0', "f").patch(124, bytes), []).end()];
    vec![
        ("a header that is none", vec![vec![b'x'; 1024]], "not a header"),
        ("a negative size", size(&[0xff; 12]), "f: its size is not a number"),
        ("a size of letters", size(b"12z\0"), "f: its size is not a number"),
        (
            "more data than there are",
            vec![Tar::new().entry(&Header::new(b'0', "f").size(1 << 40), "x").end()],
            "cut off",
        ),
        (
            "an endless extended header",
            vec![Tar::new().entry(&Header::new(b'x', "x").size(1 << 30), []).end()],
            "1 MiB",
        ),
        ("an extended header with nothing behind", vec![Tar::new().pax(&[("path", b"x")]).cut()], "cut off"),
        (
            "a record of the wrong length",
            one(Tar::new().entry(&Header::new(b'x', "x"), "99 path=a\n")),
            "wrong length",
        ),
        ("zeros in the middle", one(Tar::new().raw([0; 512]).file("f", "x")), "followed by something else"),
        (
            "an owner that is no number",
            one(Tar::new().pax(&[("uid", b"root")]).file("f", "")),
            "uid makes no sense",
        ),
        ("nobody's owner", one(Tar::new().pax(&[("uid", b"4294967295")]).file("f", "")), "no owner's number"),
        (
            "nobody's group, in bytes",
            one(Tar::new().entry(&Header::new(b'0', "f").patch(116, *b"\x80\0\0\0\xff\xff\xff\xff"), [])),
            "no group's number",
        ),
        (
            "a map beyond the file",
            sparse(&[("GNU.sparse.size", b"4"), ("GNU.sparse.map", b"0,8")]),
            "does not fit",
        ),
        (
            "a map back to front",
            sparse(&[("GNU.sparse.size", b"99"), ("GNU.sparse.map", b"50,4,0,4")]),
            "does not fit",
        ),
        (
            "a map that overflows",
            sparse(&[("GNU.sparse.size", b"99"), ("GNU.sparse.map", b"18446744073709551615,8")]),
            "does not fit",
        ),
        ("a map of words", sparse(&[("GNU.sparse.map", b"a,b")]), "GNU.sparse.map makes no sense"),
        (
            "a map in the data that has no end",
            sparse(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]),
            "the map of its holes is broken",
        ),
        (
            "an old map without end",
            vec![
                Tar::new()
                    .entry(&Header::new(b'S', "s").gnu().patch(482, [1]), [])
                    .raw([[0; 504].as_slice(), &[1; 8]].concat())
                    .end(),
            ],
            "the map of its holes is broken",
        ),
    ]
}
