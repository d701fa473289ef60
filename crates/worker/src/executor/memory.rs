//! Where there is memory to keep what must not reach a disk.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::digest;

/// What file systems in memory are called by `statfs`.
const TMPFS: u32 = 0x0102_1994;
/// Of the digest of a root's path, so many digits tell it from others.
const DIGITS: usize = 32;

/// A file system in memory that this process may write to, if there is one: `/run`, `/dev/shm`, `$XDG_RUNTIME_DIR`.
pub(crate) fn memory() -> Option<PathBuf> {
    places().find(|path| is_memory(path))
}

/// Where an [`OciRuntime`](super::OciRuntime) keeps what there is about the containers of a cache root: below
/// `lazyblob-<uid>/`, for this user alone, in the first file system in memory of `/run`, `/dev/shm` and
/// `$XDG_RUNTIME_DIR`, since it has the environment of commands in it, secrets included. Where there is none it is `run` in
/// the root. All who have one root have one such directory, and sweep what killed ones have left. Blocks for a moment.
#[must_use]
pub fn state_dir(root: &Path) -> PathBuf {
    state_among(places().filter(|path| is_memory(path)), root)
}

fn places() -> impl Iterator<Item = PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    ["/run", "/dev/shm"].map(PathBuf::from).into_iter().chain(own)
}

fn is_memory(path: &Path) -> bool {
    let writes = rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    writes && rustix::fs::statfs(path).is_ok_and(|found| u32::try_from(found.f_type) == Ok(TMPFS))
}

fn state_among(places: impl Iterator<Item = PathBuf>, root: &Path) -> PathBuf {
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let name = digest::sha256(whole.as_os_str().as_encoded_bytes()).digest().to_owned();
    let name = name.get(..DIGITS).unwrap_or(&name);
    let user = format!("lazyblob-{}", rustix::process::geteuid().as_raw());
    for place in places {
        let above = place.join(&user);
        match own(&above) {
            Ok(()) => return above.join(name),
            Err(error) => tracing::debug!(%error, path = %above.display(), "no place for state"),
        }
    }
    root.join("run")
}

/// Makes a directory for this user alone, if it is not there. Some places are everybody's: one that somebody else has made,
/// or that others look into, is not taken.
fn own(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    if is_ours && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not for this user alone"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn among(places: &[&Path], root: &Path) -> PathBuf {
        state_among(places.iter().map(|place| place.to_path_buf()), root)
    }

    #[test]
    fn each_root_has_a_place_of_its_own_that_nobody_else_looks_into() {
        let dir = tempfile::tempdir().unwrap();
        let (place, one, two) = (dir.path().join("place"), dir.path().join("one"), dir.path().join("two"));
        [&place, &one, &two].into_iter().for_each(|path| fs::create_dir(path).unwrap());
        symlink(&one, dir.path().join("link")).unwrap();
        let state = among(&[&place], &one);
        assert!(state.starts_with(&place));
        assert_eq!(among(&[&place], &dir.path().join("link")), state);
        assert_ne!(among(&[&place], &two), state);
        let mode = fs::metadata(state.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_others_have_made_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let [open, link, last, root] = ["open", "link", "last", "root"].map(|name| dir.path().join(name));
        [&open, &link, &last, &root].into_iter().for_each(|path| fs::create_dir(path).unwrap());
        let user = format!("lazyblob-{}", rustix::process::geteuid().as_raw());
        fs::create_dir(open.join(&user)).unwrap();
        fs::set_permissions(open.join(&user), fs::Permissions::from_mode(0o750)).unwrap();
        symlink(&root, link.join(&user)).unwrap();
        assert!(among(&[&open, &link, &last], &root).starts_with(&last));
        assert_eq!(among(&[&open, &link], &root), root.join("run"));
        assert_eq!(among(&[], &root), root.join("run"));
    }

    #[test]
    fn a_disk_is_no_memory() {
        assert!(!is_memory(Path::new("/proc")) && !is_memory(Path::new("/missing")));
        if let Some(found) = memory() {
            let dir = tempfile::tempdir_in(found).unwrap();
            assert!(is_memory(dir.path()));
            assert!(!state_dir(dir.path()).starts_with(dir.path()), "it is not in the root");
        }
    }
}
