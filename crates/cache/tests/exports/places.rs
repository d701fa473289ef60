//! Where a tree may be put, and what stays where it was not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lazyblob_cache::testing::Tar;
use lazyblob_cache::{Error, ExtractOptions};
use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;

use crate::support::{Cache, is_root, names};

fn tar() -> Vec<Vec<u8>> {
    vec![Tar::new().file("file", "content").end()]
}

#[tokio::test]
async fn a_tree_goes_to_what_is_absent_or_empty_alone() {
    let cache = Cache::new().await;
    let image = cache.pull(&tar()).await;
    fs::create_dir(cache.out("empty")).unwrap();
    cache.extract(&image, "empty").await.unwrap();
    assert_eq!(names(&cache.out("empty")), ["file"]);

    fs::create_dir(cache.out("full")).unwrap();
    fs::write(cache.out("full/mine"), "mine").unwrap();
    fs::write(cache.out("plain"), "mine").unwrap();
    fs::create_dir(cache.out("aim")).unwrap();
    std::os::unix::fs::symlink("aim", cache.out("link")).unwrap();
    let before = cache.beside();
    for (name, words) in [
        ("full", "mine"),
        ("empty", "file"),
        ("plain", "not a directory"),
        ("link", "link"),
        ("link/", "link"),
        ("aim/..", "name"),
    ] {
        let error = cache.extract(&image, name).await.unwrap_err();
        assert!(matches!(error.root(), Error::Refused { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    let error = cache.extract(&image, "none/tree").await.unwrap_err();
    assert!(matches!(error.root(), Error::Io { path, .. } if path.ends_with("none")), "{error:?}");
    assert_eq!(cache.beside(), before);
    assert_eq!((names(&cache.out("full")), names(&cache.out("aim"))), (vec!["mine".to_owned()], vec![]));
    assert_eq!(fs::read(cache.out("plain")).unwrap(), b"mine");
}

#[tokio::test]
async fn who_is_there_first_has_the_place() {
    let cache = Cache::new().await;
    let image = cache.pull(&tar()).await;
    let (one, two) = futures::join!(cache.extract(&image, "tree"), cache.extract(&image, "tree"));
    let lost = match (one, two) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        other => panic!("{other:?}"),
    };
    assert!(matches!(lost.root(), Error::Refused { .. }), "{lost:?}");
    assert_eq!(
        (cache.beside(), names(&cache.out("tree"))),
        (vec!["tree".to_owned()], vec!["file".to_owned()])
    );
}

#[tokio::test]
async fn what_a_killed_run_left_goes_with_the_next_one() {
    let cache = Cache::new().await;
    let image = cache.pull(&tar()).await;
    let left = cache.out(".tree.lazyblob-0123456789abcdef");
    fs::create_dir_all(left.join("tree/deep")).unwrap();
    fs::set_permissions(left.join("tree/deep"), fs::Permissions::from_mode(0o0)).unwrap();
    let held = cache.out(".tree.lazyblob-00000000000000ff");
    fs::create_dir(&held).unwrap();
    let lock = fs::File::open(&held).unwrap();
    lock.lock().unwrap();
    let others = cache.out(".other.lazyblob-0123456789abcdef");
    fs::create_dir(&others).unwrap();
    cache.extract(&image, "tree").await.unwrap();
    assert!(!left.exists(), "nobody's");
    assert!(held.exists() && others.exists(), "somebody's, and another place's");
}

#[tokio::test]
async fn the_longest_name_takes_a_tree() {
    let cache = Cache::new().await;
    let image = cache.pull(&tar()).await;
    let name = "n".repeat(255);
    cache.extract(&image, &name).await.unwrap();
    assert_eq!(cache.beside(), [name]);
}

/// A root that nobody may write gets its name all the same, and keeps its mode.
#[tokio::test]
async fn a_tree_that_nobody_may_write_is_extracted() {
    let cache = Cache::new().await;
    let image = cache.pull(&[Tar::new().dir("./", 0o555).file("file", "content").end()]).await;
    cache.extract(&image, "tree").await.unwrap();
    let mode = fs::metadata(cache.out("tree")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o555);
    assert_eq!(cache.beside(), ["tree"]);
}

#[tokio::test]
async fn an_image_of_no_layers_is_an_empty_directory() {
    let cache = Cache::new().await;
    let image = cache.pull(&[]).await;
    let extracted = cache.extract(&image, "tree").await.unwrap();
    assert_eq!((extracted.entries, names(&cache.out("tree")).len()), (0, 0));
}

/// A small file system of its own, unmounted at the end.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, options: &str) -> Self {
        fs::create_dir(at).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str())).unwrap();
        Self(at)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_disk_that_fills_ends_it_and_is_empty_again() {
    if !is_root() {
        return lazyblob_remote::testing::not_run("a disk that fills", "mounting takes root");
    }
    let cache = Cache::new().await;
    let layers = [Tar::new().file("small", "x").end(), Tar::new().file("large", vec![1; 3 << 20]).end()];
    let image = cache.pull(&layers).await;
    let disk = cache.out("disk");
    let mounted = Tmpfs::mount(&disk, "size=1m");
    let error = cache.extract(&image, "disk/tree").await.unwrap_err();
    let Error::Io { path, source, .. } = error.root() else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(path.ends_with("large"), "{error}");
    assert!(names(&disk).is_empty());
    // The blobs are there for another place.
    cache.registry.reset();
    cache.extract(&image, "elsewhere").await.unwrap();
    assert!(cache.registry.requests(Kind::BlobGet) <= 1, "one may not have been through");

    rustix::mount::mount_remount(&disk, rustix::mount::MountFlags::RDONLY, c"").unwrap();
    let error = cache.extract(&image, "disk/tree").await.unwrap_err();
    let Error::Io { source, .. } = error.root() else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    // A mount point is no place for a tree.
    drop(mounted);
    let point = cache.out("point");
    let mounted = Tmpfs::mount(&point, "size=1m");
    let error = cache.extract(&image, "point").await.unwrap_err();
    assert!(matches!(error.root(), Error::Refused { .. }), "{error:?}");
    drop(mounted);
}

/// The files of a blob that is read stay until it was read, whatever becomes of the store.
#[tokio::test]
async fn nothing_is_needed_of_the_network_for_what_is_here() {
    let cache = Cache::new().await;
    let image = cache.pull(&tar()).await;
    let top = image.top.as_ref().unwrap();
    top.unlazy(&Access::anonymous()).await.unwrap();
    cache.registry.reset();
    top.extract_to(&cache.out("tree"), ExtractOptions::default(), &Access::anonymous()).await.unwrap();
    assert!(cache.registry.log().is_empty());
    assert_eq!(names(&cache.out("tree")), ["file"]);
}
