//! What counts as a difference, and what does not.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lazyblob_cache::testing::Tree;
use lazyblob_cache::{Error, layer};
use tokio_util::sync::CancellationToken;

use crate::support::tree::{file, set_time, set_xattr, sparse};
use crate::support::{apply_with_gnu_tar, at, copy, diff, entries, names};

/// Two trees of one directory with one file, which look the same.
fn pair(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    fs::create_dir_all(lower.join("dir")).unwrap();
    file(&lower.join("dir/file"), content);
    copy(&lower, &upper);
    assert!(diff(Some(&lower), &upper).1.is_empty());
    (dir, lower, upper)
}

/// Size and time say nothing about content.
#[test]
fn content_is_compared_and_not_guessed() {
    let (_dir, lower, upper) = pair(&vec![1; 1_000_000]);
    let (path, time) = (upper.join("dir/file"), fs::metadata(lower.join("dir/file")).unwrap().modified());
    for at in [0, 499_999, 999_999] {
        let mut content = vec![1; 1_000_000];
        content[at] = 2;
        file(&path, &content);
        fs::File::open(&path).unwrap().set_modified(*time.as_ref().unwrap()).unwrap();
        let (tar, _) = diff(Some(&lower), &upper);
        assert_eq!(names(&tar), ["dir/file"], "{at}");
        assert_eq!(entries(&tar)[0].content, content);
    }
}

#[test]
fn holes_are_compared_as_the_zeros_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    for root in [&lower, &upper] {
        fs::create_dir(root).unwrap();
    }
    // A tebibyte each: nothing of it may be read.
    for (root, data) in [(&lower, 1_u64 << 39), (&upper, 1 << 39)] {
        sparse(&root.join("huge"), 1 << 40, &[(data, b"here")]);
        set_time(&root.join("huge"), 5, 0);
        set_time(root, 5, 0);
    }
    assert!(diff(Some(&lower), &upper).1.is_empty());
    sparse(&upper.join("huge"), 1 << 40, &[(1 << 39, b"here"), ((1 << 40) - 1, b"x")]);
    set_time(&upper.join("huge"), 5, 0);
    let (tar, _) = diff(Some(&lower), &upper);
    assert!(tar.len() < 20_000, "the layer has the data alone: {}", tar.len());
    apply_with_gnu_tar(&tar, &lower);
    assert_eq!(fs::metadata(lower.join("huge")).unwrap().len(), 1 << 40);
    assert!(diff(Some(&lower), &upper).1.is_empty());
}

/// What a file system makes holes of is its own affair.
#[test]
fn where_exactly_the_holes_are_does_not_show() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let zeros = vec![0; 256 * 1024];
    for (root, data) in [(&one, &[(300_000, &b"data"[..])][..]), (&two, &[(300_000, b"data"), (0, &zeros)])] {
        fs::create_dir(root).unwrap();
        sparse(&root.join("file"), 1 << 20, data);
        set_time(&root.join("file"), 5, 0);
        set_time(root, 5, 0);
    }
    let holes = |root: &Path| Tree::of(root).unwrap();
    assert_ne!(holes(&one), holes(&two), "the two have other holes");
    assert_eq!(diff(None, &one).0, diff(None, &two).0);
    // A file that has no holes is written as it is.
    let mut dense = zeros.clone();
    dense[9] = 1;
    file(&one.join("file"), &dense);
    let (tar, _) = diff(None, &one);
    let file = &entries(&tar)[1];
    assert!(file.content == dense && file.pax.iter().all(|(key, _)| key == "mtime"), "{:?}", file.pax);
}

#[test]
fn each_part_of_what_a_file_is_counts_alone() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &[&str]); 6] = [
        ("mode", |root| set_mode(&root.join("dir/file"), 0o4711), &["dir/file"]),
        ("time", |root| set_time(&root.join("dir/file"), 7, 1), &["dir/file"]),
        ("xattr", |root| set_xattr(&root.join("dir/file"), "user.a", b""), &["dir/file"]),
        ("mode of a directory", |root| set_mode(&root.join("dir"), 0o1777), &["dir/"]),
        ("time of a directory", |root| set_time(&root.join("dir"), 7, 1), &["dir/"]),
        ("mode of the root", |root| set_mode(root, 0o500), &["./"]),
    ];
    for (what, change, expected) in changes {
        let (_dir, lower, upper) = pair(b"content");
        change(&upper);
        let (tar, done) = diff(Some(&lower), &upper);
        assert_eq!(names(&tar), expected, "{what}");
        assert_eq!(done.entries, 1);
        apply_with_gnu_tar(&tar, &lower);
        assert_eq!(Tree::of(&lower).unwrap(), Tree::of(&upper).unwrap(), "{what}");
    }
}

#[test]
fn what_steers_overlayfs_is_no_part_of_an_image() {
    let (_dir, lower, upper) = pair(b"content");
    set_xattr(&upper.join("dir"), "user.overlay.opaque", b"y");
    assert!(diff(Some(&lower), &upper).1.is_empty());
    set_xattr(&upper.join("dir"), "user.overlay", b"y");
    let (tar, _) = diff(Some(&lower), &upper);
    let pax = &entries(&tar)[0].pax;
    assert!(pax.contains(&("SCHILY.xattr.user.overlay".to_owned(), b"y".to_vec())));
    assert!(!pax.iter().any(|(key, _)| key.contains("opaque")), "{pax:?}");
}

#[test]
fn what_cannot_be_said_or_read_is_an_error_that_names_it() {
    let (_dir, lower, upper) = pair(b"content");
    let error = |lower: Option<&Path>, upper: &Path| {
        layer::diff(lower, upper, Vec::new(), &CancellationToken::new()).unwrap_err()
    };
    assert!(error(None, &upper.join("no")).is_not_found());
    assert!(error(Some(&lower.join("no")), &upper).is_not_found());
    assert!(matches!(error(None, &upper.join("dir/file")), Error::Invalid { .. }));
    set_xattr(&upper.join("dir/file"), "user.a=b", b"c");
    let odd = error(None, &upper);
    assert!(matches!(odd, Error::Invalid { .. }) && odd.to_string().contains("dir/file"), "{odd}");
}

/// Refuses the byte that comes after so many.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(self.0);
        self.0 -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cancels once something was written to it.
struct Cancelling<'a>(&'a CancellationToken, usize);

impl Write for Cancelling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 += bytes.len();
        if self.1 > 200_000 {
            self.0.cancel();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_and_a_caller_that_leaves_are_told_apart() {
    let (_dir, lower, upper) = pair(&vec![3; 4 << 20]);
    for room in [0, 600, 100_000] {
        let error = layer::diff(None, &upper, Full(room), &CancellationToken::new()).unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
    }
    let cancel = CancellationToken::new();
    let mut out = Cancelling(&cancel, 0);
    let error = layer::diff(None, &upper, &mut out, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    assert!(out.1 < 1 << 20, "it stopped within the file: {}", out.1);
    // Before anything, and while two files are compared.
    let error = layer::diff(Some(&lower), &upper, Vec::new(), &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
}

/// Does something once so much was written to it.
struct Meanwhile<'a>(usize, &'a dyn Fn());

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.0;
        self.0 = before.saturating_sub(bytes.len());
        if before > 0 && self.0 == 0 {
            (self.1)();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer of half of the old and half of the new would be of a tree that never was.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let change = |upper: &Path, number: usize| {
        let path = upper.join("dir/file");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        match number {
            0 => file.set_len(1000).unwrap(),
            1 => file.set_len(1 << 30).unwrap(),
            2 => {
                std::os::unix::fs::FileExt::write_all_at(&file, b"x", 3).unwrap();
                file.set_modified(at(77, 0)).unwrap();
            }
            _ => fs::remove_file(upper.join("last")).unwrap(),
        }
    };
    for number in 0..4 {
        let (_dir, _, upper) = pair(&vec![3; 1 << 20]);
        file(&upper.join("last"), "it comes after the other");
        let change = || change(&upper, number);
        let out = Meanwhile(500_000, &change);
        let error = layer::diff(None, &upper, out, &CancellationToken::new()).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, Error::Invalid { .. }) && said.contains("it changed"), "{number}: {said}");
        assert!(said.contains(if number == 3 { "last" } else { "dir/file" }), "{said}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The time of the whole is not the time of a part.
#[test]
fn a_nanosecond_is_a_difference() {
    let (_dir, lower, upper) = pair(b"content");
    for (root, nanos) in [(&lower, 1), (&upper, 2)] {
        fs::File::open(root.join("dir/file")).unwrap().set_modified(at(9, nanos)).unwrap();
    }
    let (tar, _) = diff(Some(&lower), &upper);
    assert_eq!(entries(&tar)[0].pax, [("mtime".to_owned(), b"9.000000002".to_vec())]);
}
