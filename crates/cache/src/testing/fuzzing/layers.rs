//! Layers, good and bad, applied to a directory with something beside it that no layer may touch.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lazyblob_remote::{Descriptor, digest, media};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Mismatch, Result};
use crate::layer::{self, Applied, Form, Limits, Options};
use crate::testing::Tree;
use crate::testing::tree::Part;

/// More than that nobody wants to read again, in bytes: a file of nothing but a hole may be as large as it likes.
const LARGE: u64 = 16 << 20;

/// Applies a tar in every form.
pub(super) fn apply(bytes: &[u8]) {
    for bytes in with_mended(bytes) {
        for form in [Form::Tree, Form::Overlay, Form::Plain] {
            // Marks that overlayfs reads are root's to make.
            if form == Form::Overlay && !is_root() {
                continue;
            }
            let place = Place::new();
            if form == Form::Tree {
                place.fill();
            }
            let applied = layer::apply(&bytes[..], &place.root(), &options(form), &CancellationToken::new());
            let applied = checked(applied);
            assert!(
                form != Form::Tree
                    || applied.is_none_or(|applied| applied.pending == layer::Pending::default())
            );
            place.check();
        }
    }
}

/// Unpacks a blob, compressed or not, and lists its names.
pub(super) fn unpack(bytes: &[u8]) {
    let cancel = CancellationToken::new();
    let descriptor = Descriptor::new(media::OCI_LAYER_GZIP.into(), bytes.len() as u64, digest::sha256(bytes));
    let unpack = |diff_id| {
        let place = Place::new();
        let options = Options { devices: false, ..options(Form::Plain) };
        let unpacked = layer::unpack(bytes, &descriptor, diff_id, &place.root(), &options, &cancel);
        place.check();
        unpacked
    };
    // What has another diffID than was said is refused as such, and fine once the right one is said.
    match unpack(&digest::sha256(b"something else")) {
        Err(Error::Integrity { mismatch: Mismatch::DiffId { actual, .. }, .. }) => {
            let diff_id = actual.parse().expect("a digest");
            assert_eq!(unpack(&diff_id).expect("nothing else was wrong").diff_id, diff_id);
            layer::file_list(bytes, &cancel).expect("a layer that was unpacked");
        }
        outcome => {
            assert!(checked(outcome).is_none(), "of another diffID than was said");
            drop(layer::file_list(bytes, &cancel));
        }
    }
}

/// Applies a tar, makes a layer of the tree, and applies that: the tree is the same, and so is the layer made of it.
pub(super) fn round_trip(bytes: &[u8]) {
    let cancel = CancellationToken::new();
    let options = options(Form::Tree);
    for bytes in with_mended(bytes) {
        let (place, other) = (Place::new(), Place::new());
        let applied = checked(layer::apply(&bytes[..], &place.root(), &options, &cancel));
        // Paths may be longer than the system takes in one piece, and not all can be read by who made it.
        if applied.is_none() || largest(&place.root()).is_none_or(|size| size > LARGE) {
            continue;
        }
        let Ok(tree) = Tree::of(&place.root()) else { continue };
        let mut tar = Vec::new();
        match layer::tar_of(&place.root(), Form::Tree, &mut tar, &cancel) {
            Ok(_) => {}
            // An attribute's name that has `=` in it.
            Err(Error::Invalid { .. }) => continue,
            Err(other) => panic!("{other:?}"),
        }
        layer::apply(&tar[..], &other.root(), &options, &cancel).expect("a layer of our own making");
        Tree::of(&other.root()).expect("a tree").assert_equals(&tree);
        let mut again = Vec::new();
        layer::tar_of(&other.root(), Form::Tree, &mut again, &cancel).expect("a tree of our own making");
        assert!(tar == again, "the same tree is the same layer");
    }
}

/// What came of a layer, if it is right: only some errors may come of bytes.
fn checked(applied: Result<Applied>) -> Option<Applied> {
    match applied {
        Ok(applied) => Some(applied),
        Err(Error::Invalid { .. } | Error::Refused { .. }) => None,
        // A size beyond what the file system has.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::FileTooLarge => None,
        Err(other) => panic!("{other:?}"),
    }
}

fn options(form: Form) -> Options {
    let limits = Limits { size: 1 << 20, entries: 1000, ..Limits::default() };
    let options = if is_root() { Options::privileged(form) } else { Options::unprivileged(form) };
    Options { limits, ..options }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The bytes, and the same with right checksums where blocks look like headers: damage gets behind them.
fn with_mended(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut mended = bytes.to_vec();
    for block in mended.chunks_exact_mut(512) {
        if block.get(257..262) != Some(b"ustar") {
            continue;
        }
        if let Some(field) = block.get_mut(148..156) {
            field.fill(b' ');
        }
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        if let Some(field) = block.get_mut(148..155) {
            field.copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
    let mended = (mended != bytes).then_some(mended);
    std::iter::once(bytes.to_vec()).chain(mended)
}

/// The size of the largest file; nothing where the tree cannot be read.
fn largest(dir: &Path) -> Option<u64> {
    let mut largest = 0;
    for entry in fs::read_dir(dir).ok()? {
        let path = entry.ok()?.path();
        let status = fs::symlink_metadata(&path).ok()?;
        largest = largest.max(if status.is_dir() { self::largest(&path)? } else { status.size() });
    }
    Some(largest)
}

/// A root to apply layers to.
struct Place {
    holder: TempDir,
    /// What is beside the root.
    before: Tree,
}

impl Place {
    fn new() -> Self {
        let holder = tempfile::tempdir().expect("a directory");
        let outside = holder.path().join("outside");
        fs::create_dir_all(outside.join("beside")).expect("a directory");
        fs::write(outside.join("victim"), "untouched").expect("a file");
        fs::write(outside.join("beside/victim"), "untouched").expect("a file");
        let before = Tree::of(&outside).expect("a tree").without(Part::Root);
        fs::create_dir(outside.join("root")).expect("a directory");
        Self { holder, before }
    }

    fn root(&self) -> PathBuf {
        self.holder.path().join("outside/root")
    }

    /// Puts there what a layer below may have brought: links that lead out, among others.
    fn fill(&self) {
        let root = self.root();
        fs::create_dir_all(root.join("d/sub")).expect("a directory");
        fs::write(root.join("d/one"), "one").expect("a file");
        fs::write(root.join("f"), "f").expect("a file");
        let victim = self.holder.path().join("outside/victim");
        let links = [("l", "d"), ("up", ".."), ("a", "../beside"), ("b", "../victim"), ("d/up", "../..")];
        for (name, target) in links {
            symlink(target, root.join(name)).expect("a link");
        }
        symlink(victim, root.join("c")).expect("a link");
    }

    /// Checks that what is beside the root is as it was.
    fn check(&self) {
        let outside = self.holder.path().join("outside");
        fs::rename(self.root(), self.holder.path().join("root")).expect("the root");
        Tree::of(&outside).expect("a tree").without(Part::Root).assert_equals(&self.before);
        for victim in ["victim", "beside/victim"] {
            let links = fs::symlink_metadata(outside.join(victim)).expect("a file").nlink();
            assert_eq!(links, 1, "{victim} has got a name inside");
        }
        fs::rename(self.holder.path().join("root"), self.root()).expect("the root");
    }
}

impl Drop for Place {
    /// So that the directory can be removed.
    fn drop(&mut self) {
        if !is_root() {
            open_up(&self.root());
        }
    }
}

fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
