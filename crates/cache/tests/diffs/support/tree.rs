//! Trees on disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// Whether owners can be given away and devices made.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A time.
pub(crate) fn at(seconds: u64, nanos: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}

/// A file.
pub(crate) fn file(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
}

/// A file of this size with data at these places only.
pub(crate) fn sparse(path: &Path, size: u64, data: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, bytes) in data {
        file.write_all_at(bytes, *at).unwrap();
    }
}

/// Sets the time of anything, links not followed.
pub(crate) fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Sets an extended attribute, links not followed.
pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Removes all extended attributes.
pub(crate) fn clear_xattrs(path: &Path) {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        rustix::fs::lremovexattr(path, name).unwrap();
    }
}

/// Makes a pipe or a device.
pub(crate) fn special(path: &Path, kind: FileType, device: (u32, u32)) {
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// A tree with one of everything, hard links among it.
pub(crate) fn of_everything(root: &Path) {
    fs::create_dir(root).unwrap();
    for dir in ["bin", "empty", "etc", "etc/deep", "var"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    file(&root.join("etc/hosts"), "127.0.0.1 localhost\n");
    file(&root.join("etc/deep/nothing"), "");
    file(&root.join("bin/tool"), vec![7; 300_000]);
    fs::hard_link(root.join("bin/tool"), root.join("bin/alias")).unwrap();
    fs::hard_link(root.join("bin/tool"), root.join("var/zz")).unwrap();
    symlink("../etc/hosts", root.join("var/hosts")).unwrap();
    symlink("x".repeat(180), root.join("var/far")).unwrap();
    sparse(&root.join("var/lastlog"), 3 << 20, &[(8192, b"one"), (1 << 20, &[1; 9000])]);
    sparse(&root.join("var/hole"), 1 << 20, &[]);
    special(&root.join("var/pipe"), FileType::Fifo, (0, 0));
    set_xattr(&root.join("etc/hosts"), "user.note", b"a\0b\n=");
    set_xattr(&root.join("bin/tool"), "user.of", b"all names");
    set_xattr(&root.join("etc"), "user.dir", b"yes");
    if is_root() {
        special(&root.join("var/null"), FileType::CharacterDevice, (1, 3));
        special(&root.join("var/disk"), FileType::BlockDevice, (259, 70_000));
        std::os::unix::fs::chown(root.join("etc/hosts"), Some(3_000_000), Some(4_000_000_000)).unwrap();
        set_xattr(&root.join("etc/deep"), "trusted.t", b"root's");
    }
    set_time(&root.join("etc/deep/nothing"), -86_400, 0);
    set_time(&root.join("var/far"), 1_000_000_000, 123_456_789);
    set_time(&root.join("empty"), 1_000_000_000, 0);
    let mut log = File::create(root.join("var/log")).unwrap();
    log.write_all(b"began\n").unwrap();
}
