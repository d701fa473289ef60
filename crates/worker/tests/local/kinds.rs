//! Files of all kinds.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lazyblob_remote::Access;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::support::{Bench, Reads, Wanted, context, kinds, session, write};

#[tokio::test]
async fn files_of_all_kinds_are_kept_and_sockets_are_not_sent() {
    for kind in kinds() {
        let (bench, reads) = (Bench::new(kind).await, Arc::new(Reads::default()));
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(dir.path(), "d/file", "text");
        fs::set_permissions(at("d/file"), Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(at("d"), Permissions::from_mode(0o1750)).unwrap();
        fs::hard_link(at("d/file"), at("second")).unwrap();
        symlink("/etc/passwd", at("leaves")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let strange = dir.path().join(OsStr::from_bytes(b"\xff name"));
        fs::write(&strange, "x").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
        fs::File::open(at("d/file")).unwrap().set_modified(time).unwrap();
        let has_xattrs = rustix::fs::setxattr(at("d/file"), "user.note", b"kept", XattrFlags::empty())
            .is_ok()
            && rustix::fs::setxattr(at("d"), "user.dir", b"too", XattrFlags::empty()).is_ok();
        let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
        let view = tree.view(&Access::anonymous()).await.unwrap();
        let seen = |name: &str| fs::symlink_metadata(view.path().join(name));
        let file = seen("d/file").unwrap();
        assert_eq!(file.mode() & 0o7777, 0o4751, "{kind:?}");
        assert_eq!((file.mtime(), file.mtime_nsec()), (1_000_000_000, 123_456_789), "{kind:?}");
        assert_eq!(file.ino(), seen("second").unwrap().ino(), "{kind:?}: hard links stay");
        assert_eq!(seen("d").unwrap().mode() & 0o7777, 0o1750, "{kind:?}");
        assert_eq!(fs::read_link(view.path().join("leaves")).unwrap(), OsStr::new("/etc/passwd"));
        assert_eq!(fs::read_link(view.path().join("dangling")).unwrap(), OsStr::new("nowhere"));
        assert_eq!(FileType::from_raw_mode(seen("pipe").unwrap().mode()), FileType::Fifo);
        assert!(seen("socket").is_err(), "{kind:?}: nobody could connect to it");
        assert_eq!(fs::read(view.path().join(strange.file_name().unwrap())).unwrap(), b"x");
        if has_xattrs {
            let value = |name: &str, xattr: &str| {
                let mut value = vec![0; 16];
                let length = rustix::fs::getxattr(view.path().join(name), xattr, &mut value[..]).unwrap();
                value.truncate(length);
                value
            };
            assert_eq!(
                (value("d/file", "user.note"), value("d", "user.dir")),
                (b"kept".into(), b"too".into())
            );
        }
        view.close().await.unwrap();
        let mut read = reads.take();
        read.sort();
        assert_eq!(read, ["file", "\u{fffd} name"], "{kind:?}: each inode once, nothing but files");
        // The second time it is all the same, hard links too.
        write(dir.path(), "new", "new");
        let again = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
        assert_eq!(reads.take(), ["new"], "{kind:?}");
        let view = again.view(&Access::anonymous()).await.unwrap();
        let inode = |name: &str| fs::symlink_metadata(view.path().join(name)).unwrap().ino();
        assert_eq!(inode("d/file"), inode("second"), "{kind:?}");
        view.close().await.unwrap();
        drop((tree, again));
        bench.close().await;
    }
}

#[tokio::test]
async fn owners_are_not_the_client_s() {
    if !rustix::process::geteuid().is_root() {
        println!("not run: only root can give files away");
        return;
    }
    let (bench, dir) = (Bench::new(Wanted::Plain).await, tempfile::tempdir().unwrap());
    write(dir.path(), "d/file", "text");
    for name in ["d", "d/file"] {
        std::os::unix::fs::chown(dir.path().join(name), Some(1234), Some(5678)).unwrap();
    }
    let tree = bench.build(context(), session(dir.path(), &Arc::default())).await.unwrap();
    let view = tree.view(&Access::anonymous()).await.unwrap();
    for name in ["d", "d/file"] {
        let meta = fs::symlink_metadata(view.path().join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (0, 0), "{name}");
    }
    view.close().await.unwrap();
    drop(tree);
    bench.close().await;
}

#[tokio::test]
async fn a_large_file_with_holes_is_copied_whole() {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let (bench, dir) = (Bench::new(Wanted::Plain).await, tempfile::tempdir().unwrap());
    let mut file = fs::File::create(dir.path().join("sparse")).unwrap();
    file.seek(SeekFrom::Start((5 << 20) + 17)).unwrap();
    file.write_all(b"end").unwrap();
    file.set_len(9 << 20).unwrap();
    drop(file);
    let tree = bench.build(context(), session(dir.path(), &Arc::default())).await.unwrap();
    let view = tree.view(&Access::anonymous()).await.unwrap();
    let copied = fs::read(view.path().join("sparse")).unwrap();
    assert!(copied == fs::read(dir.path().join("sparse")).unwrap());
    let key = tree.record().snapshot.clone().unwrap();
    let kept = bench.worker.manager().snapshots().directory(&key).unwrap().join("sparse");
    assert!(fs::metadata(kept).unwrap().blocks() * 512 < 2 << 20, "holes stay holes");
    view.close().await.unwrap();
    drop(tree);
    bench.close().await;
}
