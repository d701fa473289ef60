//! Applying a tar to a directory.
//!
//! Nothing outside the directory is ever touched: names are made relative and harmless ([`name`]), the directories they lie
//! in are opened beneath the root ([`parents`]), and all else is done to a single name in an open directory, links not
//! followed. What is at a name is removed before anything new is put there, so nothing is written through a link to a file
//! of a layer below.

mod directories;
mod finish;
mod links;
mod make;
mod meta;
pub(super) mod name;
mod parents;
mod remove;
mod whiteout;
mod write_out;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lazyblob_remote::What;
use lazyblob_remote::digest::Hasher;
use oci_spec::image::DigestAlgorithm;
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use self::directories::{Directories, Last};
use self::name::{Asked, Name, Wrong};
use self::parents::{Cause, Made, Parent, Parents, Rules};
use super::stream::{Bytes, Plain};
use super::tarball::{Entry, Kind, Reader};
use super::{Applied, Form, Options, Skipped, Usage};
use crate::error::{Error, IoContext as _, Result};

/// Applies an uncompressed layer to `dir`, which exists. Blocks. As [`unpack`](super::unpack) does, but with nothing to
/// decompress and no diffID to compare: that is in what is returned, as sha256.
///
/// # Errors
/// As those of [`unpack`](super::unpack), but for [`Error::Integrity`].
pub fn apply(tar: impl Read, dir: &Path, options: &Options, cancel: &CancellationToken) -> Result<Applied> {
    let what = What::new("apply layer to", dir.display());
    let hasher = Hasher::new(&DigestAlgorithm::Sha256)
        .ok_or_else(|| Error::invalid("apply layer to", dir.display(), "sha256 cannot be computed"))?;
    let bytes = Bytes::new(Plain::new(tar, what.clone()), hasher, options.limits.size, what.clone(), cancel);
    apply_bytes(bytes, dir, options, &what, cancel)
}

/// Applies what comes to `dir`.
pub(super) fn apply_bytes(
    bytes: Bytes<'_>,
    dir: &Path,
    options: &Options,
    what: &What,
    cancel: &CancellationToken,
) -> Result<Applied> {
    Applier::new(dir, options, what, true)?.run(bytes, cancel)
}

/// A layer that is being applied.
struct Applier<'a> {
    dir: &'a Path,
    options: &'a Options,
    what: &'a What,
    parents: Parents,
    directories: Directories,
    /// What this layer has put there, and the directories it lies in; kept only where layers below are there as well.
    written: HashSet<Vec<u8>>,
    /// Whiteouts of this layer so far, not those of what it has itself.
    gone: BTreeMap<Vec<u8>, ()>,
    /// Directories of this layer that hide what the layers below have in them.
    opaque: BTreeMap<Vec<u8>, ()>,
    /// Hard links to what the layers below have: name and target.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    usage: Usage,
    skipped: Skipped,
    made: Vec<Made>,
}

/// Where an entry goes.
struct Place {
    parent: Rc<Parent>,
    last: Vec<u8>,
    /// Without links, relative to the root.
    path: Vec<u8>,
}

impl<'a> Applier<'a> {
    fn new(dir: &'a Path, options: &'a Options, what: &'a What, has_openat2: bool) -> Result<Self> {
        let is_tree = options.form == Form::Tree;
        let rules = Rules {
            is_overlay: options.form == Form::Overlay,
            restores: is_tree,
            opens_up: is_tree && !options.owners,
        };
        let parents = Parents::new(dir, rules, has_openat2).map_err(std::io::Error::from).during(
            what.operation,
            &what.object,
            dir,
        )?;
        Ok(Self {
            dir,
            options,
            what,
            parents,
            directories: Directories::default(),
            written: HashSet::new(),
            gone: BTreeMap::new(),
            opaque: BTreeMap::new(),
            links: BTreeMap::new(),
            usage: Usage::default(),
            skipped: Skipped::default(),
            made: Vec::new(),
        })
    }

    /// Applies all entries, and settles what came of them.
    fn run(mut self, bytes: Bytes<'_>, cancel: &CancellationToken) -> Result<Applied> {
        let what = self.what;
        let most = self.options.limits.entries;
        let mut reader = Reader::new(bytes, what.clone());
        let mut entries = 0_u64;
        while let Some(entry) = reader.next()? {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: what.clone() });
            }
            entries += 1;
            if entries > most {
                let reason = format!("more than {most} entries, the limit of a layer");
                return Err(Error::Refused { what: what.clone(), reason });
            }
            self.entry(entry, &mut reader)?;
        }
        // The end of the stream may tell that all was in vain, so it comes first.
        let (digest, size) = reader.finish()?;
        let diff_id = digest.parse().map_err(|error: oci_spec::OciSpecError| Error::Invalid {
            what: what.clone(),
            reason: error.to_string(),
        })?;
        let (usage, skipped, pending) = self.finish(cancel)?;
        Ok(Applied { diff_id, size, usage, skipped, pending })
    }

    /// Applies one entry, whose data `reader` has.
    fn entry(&mut self, entry: Entry, reader: &mut Reader<'_>) -> Result<()> {
        let asked = if self.options.whiteouts { name::asked } else { name::plain };
        match asked(&entry.path).map_err(|wrong| self.wrong(&entry.path, &wrong))? {
            Asked::Ignored => Ok(()),
            Asked::Whiteout(name) => self.whiteout(&entry.path, &name),
            Asked::Opaque(dir) => self.opaque(&entry.path, &dir),
            Asked::Root if entry.kind == Kind::Directory => {
                let last = Last::Named { meta: entry.into(), is_old: self.is_tree() };
                self.directories.set(Vec::new(), last);
                Ok(())
            }
            Asked::Root => Err(self.invalid(&entry.path, "the root can be nothing but a directory")),
            Asked::File(name) => self.file(entry, name, reader),
        }
    }

    fn file(&mut self, entry: Entry, name: Name, reader: &mut Reader<'_>) -> Result<()> {
        let is_device = matches!(entry.kind, Kind::Character | Kind::Block);
        if is_device && !self.options.devices {
            self.skipped.devices += 1;
            return Ok(());
        }
        let place = self.place(&entry.path, name)?;
        self.note_written(&place.path);
        match entry.kind {
            Kind::File => self.regular(entry, &place, reader),
            Kind::Directory => self.directory(entry, &place),
            Kind::Symlink => self.symlink(entry, &place),
            Kind::Hardlink => self.hard_link(&entry, place),
            Kind::Character => self.node(entry, &place, FileType::CharacterDevice),
            Kind::Block => self.node(entry, &place, FileType::BlockDevice),
            Kind::Fifo => self.node(entry, &place, FileType::Fifo),
        }
    }

    /// Opens the directory an entry lies in; what is missing of it is made.
    fn place(&mut self, entry: &[u8], name: Name) -> Result<Place> {
        let mut made = std::mem::take(&mut self.made);
        let parent = self.parents.make(&name.parent, &mut self.directories, &mut made);
        let parent = parent.map_err(|cause| self.cause(entry, cause))?;
        for made in made.drain(..) {
            let path = match made {
                Made::Directory(path) => path,
                Made::OverWhiteout(path) => {
                    self.hide_below(&path)?;
                    path
                }
            };
            if self.links.contains_key(&path) {
                return Err(self.invalid(entry, &format!("{} is not a directory", path.escape_ascii())));
            }
            if self.is_hidden(&path) {
                self.directories.set(path, Last::Implied { is_fresh: true });
            }
        }
        self.made = made;
        self.parents.note(&parent, &mut self.directories).map_err(|error| self.io(&parent.path, error))?;
        let path = name::join(&parent.path, &name.last);
        Ok(Place { parent, last: name.last, path })
    }

    fn is_tree(&self) -> bool {
        self.options.form == Form::Tree
    }

    fn note_written(&mut self, path: &[u8]) {
        let mut next = self.is_tree().then_some(path);
        while let Some(path) = next.filter(|path| !self.written.contains(*path)) {
            self.written.insert(path.to_vec());
            next = name::parent(path);
        }
    }

    fn wrong(&self, entry: &[u8], wrong: &Wrong) -> Error {
        match wrong {
            Wrong::Refused(reason) => self.refused(entry, reason),
            Wrong::Invalid(reason) => self.invalid(entry, reason),
        }
    }

    fn cause(&self, entry: &[u8], cause: Cause) -> Error {
        match cause {
            Cause::NotADirectory(path) => {
                self.invalid(entry, &format!("{} is not a directory", path.escape_ascii()))
            }
            Cause::Mark => self.refused(entry, "something lies in a whiteout"),
            Cause::Loop => self.invalid(entry, "the links on its way lead round and round"),
            Cause::Io(path, error) => self.io(&path, error),
        }
    }

    fn invalid(&self, entry: &[u8], reason: &str) -> Error {
        let reason = format!("{}: {reason}", entry.escape_ascii());
        Error::Invalid { what: self.what.clone(), reason }
    }

    fn refused(&self, entry: &[u8], reason: &str) -> Error {
        let reason = format!("{}: {reason}", entry.escape_ascii());
        Error::Refused { what: self.what.clone(), reason }
    }

    /// What the kernel said of a file; that a name is too long is the tar's fault.
    fn io(&self, path: &[u8], error: Errno) -> Error {
        if error == Errno::NAMETOOLONG {
            return self.invalid(path, "a name of it is too long");
        }
        let path = self.dir.join(as_path(path));
        Error::Io { what: self.what.clone(), path, source: error.into() }
    }
}

fn as_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::testing::adversarial;
    use crate::testing::tree::{Part, Tree};

    fn tree(layers: &[Vec<u8>], form: Form, has_openat2: bool) -> Result<Tree> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::open(dir.path()).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let (cancel, options) = (CancellationToken::new(), Options::privileged(form));
        let what = What::new("apply layer to", "a directory");
        for layer in layers {
            let hasher = Hasher::new(&DigestAlgorithm::Sha256).unwrap();
            let bytes =
                Bytes::new(Plain::new(&layer[..], what.clone()), hasher, u64::MAX, what.clone(), &cancel);
            Applier::new(dir.path(), &options, &what, has_openat2)?.run(bytes, &cancel)?;
        }
        let tree = Tree::of(dir.path())?;
        // Marks have the time of day.
        Ok(if form == Form::Tree { tree } else { tree.without(Part::Times) })
    }

    /// Where the kernel or a sandbox has no `openat2`, every name is walked.
    #[test]
    fn walked_names_lead_where_resolved_ones_do() {
        if !rustix::process::geteuid().is_root() {
            lazyblob_remote::testing::not_run("names that are walked", "it wants root");
            return;
        }
        for form in [Form::Tree, Form::Overlay, Form::Plain] {
            for (_, layers) in adversarial::images() {
                tree(&layers, form, true).unwrap().assert_equals(&tree(&layers, form, false).unwrap());
            }
            for (name, layers, said) in adversarial::refused() {
                match tree(&layers, form, false) {
                    Err(error) => assert!(error.to_string().contains(said), "{name}: {error}"),
                    Ok(_) => assert_eq!((said, form != Form::Tree), ("not there", true), "{name}"),
                }
            }
        }
    }
}
