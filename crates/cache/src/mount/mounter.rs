//! Makes mounts.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::attach;
use super::overlayfs::{MAX_LAYERS, Overlayfs, Trusts};
use super::record::{self, Mark, Mode, MountRecord};
use super::state::State;
use crate::error::{Error, IoContext as _, Result, What};
use crate::root::trash;
use crate::snapshot::info::now;
use crate::snapshot::places::{nonce, private_directories, private_directory};
use crate::snapshot::{Active, Keep, Mounts, SnapshotKey, Snapshotter, dress_root};

const OPERATION: &str = "mount";

/// Mounts trees of one root. All calls block.
#[derive(Clone, Debug)]
pub struct Mounter {
    path: PathBuf,
    trash: PathBuf,
    snapshots: Arc<dyn Snapshotter>,
}

/// What is to be mounted.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What it shows, the bottom one first.
    pub stack: &'a [SnapshotKey],
    /// An active snapshot on top of it. Several mounts of one share what is written.
    pub upper: Option<&'a Active>,
    /// Where. It is made if it does not exist.
    pub dir: &'a Path,
    /// Whether it may be written to.
    pub mode: Mode,
    /// What of the image works there.
    pub trusts: Trusts,
    /// What this process was asked to do, for who finds the mount later.
    pub command: &'a str,
    /// The name of the image, for who finds the mount later.
    pub image: Option<&'a str>,
}

impl Mounter {
    /// Keeps records in the directory `path`, which is made, and moves what it has done with to `trash`, which exists on
    /// the same file system.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: PathBuf, trash: PathBuf, snapshots: Arc<dyn Snapshotter>) -> Result<Self> {
        private_directories(&path).during("open mounts", path.display(), &path)?;
        Ok(Self { path, trash, snapshots })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn discard(&self, path: &Path) -> Result<()> {
        trash::put(path, &self.trash).map(drop)
    }

    /// Mounts a tree. It stays until [`unmount`](Self::unmount) or a reboot.
    ///
    /// # Errors
    /// * [`Error::Locked`]: one of ours is mounted there, or the active snapshot is being committed.
    /// * [`Error::Refused`]: too many layers, the process may not mount, or the directory has something in it.
    /// * [`Error::NotFound`]: a snapshot.
    /// * [`Error::Cancelled`] while the tree is copied, which plain snapshots need.
    pub fn mount(&self, request: &Request<'_>, cancel: &CancellationToken) -> Result<MountRecord> {
        let upper = request.upper;
        let how = self.snapshots.mounts(request.stack, upper)?;
        check_layers(&how, request.dir)?;
        let in_use = upper.map(|upper| self.use_upper(upper)).transpose()?;
        let alone = self.alone()?;
        let there = self.list()?;
        let (dir, made_directory) = directory(request.dir)?;
        let locked = |reason: String| Error::Locked { what: What::new(OPERATION, dir.display()), reason };
        for other in there.iter().filter(|other| other.record.dir == dir) {
            match other.state {
                State::Live => {
                    let reason = "there is a mount of this root already: unmount it first";
                    return Err(locked(reason.to_owned()));
                }
                State::Making => {
                    return Err(locked(format!("process {} is mounting there", other.record.pid)));
                }
                State::Elsewhere | State::Stale(_) => {}
            }
        }
        let live: Vec<MountRecord> =
            there.into_iter().filter(|other| other.state == State::Live).map(|other| other.record).collect();
        let mut entries = fs::read_dir(&dir).during(OPERATION, dir.display(), &dir)?;
        if entries.next().is_some() {
            let reason = "the directory has something in it, which the mount would hide: \
                          name an empty one, or one that does not exist";
            return Err(Error::refused(OPERATION, dir.display(), reason));
        }
        let id = nonce();
        let shared = upper.and_then(|upper| {
            let is_same = |other: &&MountRecord| {
                other.upper.as_ref() == Some(&upper.key) && other.mode == Mode::ReadWrite
            };
            live.iter().find(is_same).filter(|_| request.mode == Mode::ReadWrite)
        });
        let mark = match (&how, shared) {
            (_, Some(shared)) => shared.mark.clone(),
            (Mounts::Overlay { .. }, _) => Mark::Overlay(format!("lazyblob-{id}")),
            (Mounts::Copy { .. }, _) => Mark::Directory(Path::new(&id).join("tree")),
            (Mounts::Tree(tree), _) => Mark::Directory(end(tree)),
        };
        let (boot, namespace) = record::here()?;
        let mut record = MountRecord {
            id,
            dir,
            mode: request.mode,
            stack: request.stack.to_vec(),
            upper: upper.map(|active| active.key.clone()),
            pid: std::process::id(),
            command: request.command.to_owned(),
            image: request.image.map(str::to_owned),
            since: now(),
            made_directory,
            is_made: false,
            boot,
            namespace,
            mark,
        };
        if record.dir.to_str().is_none() {
            return Err(Error::invalid(OPERATION, record.dir.display(), "the path is not UTF-8"));
        }
        let held = record::write(&self.path, &record)?;
        // Two mounts of one active snapshot must know of each other: with one on top the next looks when this one stands.
        let alone = upper.and(Some(alone));
        let made = match shared {
            Some(shared) => attach::bind(&shared.dir, &record.dir, false, request.trusts)
                .map_err(|error| refused(error, &record.dir)),
            None => self.make(&record, how, request.trusts, cancel),
        };
        if let Err(error) = made {
            self.forget(&record)?;
            return Err(error);
        }
        record.is_made = true;
        drop(record::write(&self.path, &record)?);
        drop((held, alone, in_use));
        Ok(record)
    }

    /// Waits until nobody else is between looking and mounting.
    fn alone(&self) -> Result<File> {
        let lock = || -> io::Result<File> {
            let file = File::open(&self.path)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        };
        lock().during(OPERATION, self.path.display(), &self.path)
    }

    pub(super) fn snapshots(&self) -> &dyn Snapshotter {
        self.snapshots.as_ref()
    }

    fn make(
        &self,
        record: &MountRecord,
        how: Mounts,
        trusts: Trusts,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let own = self.path.join(&record.id);
        private_directory(&own).during(OPERATION, record.dir.display(), &own)?;
        let is_read_only = record.mode == Mode::ReadOnly;
        let new = |name: String| -> Result<PathBuf> {
            let path = own.join(name);
            fs::create_dir(&path).during(OPERATION, record.dir.display(), &path)?;
            Ok(path)
        };
        let mounted = match how {
            Mounts::Overlay { mut lower, mut upper } => {
                if let Some((changes, _)) = upper.take_if(|_| is_read_only) {
                    lower.insert(0, changes);
                }
                if upper.is_none() && !is_read_only {
                    let changes = new("upper".to_owned())?;
                    let below: Vec<PathBuf> = lower.iter().rev().cloned().collect();
                    dress_root(&changes, &below)?;
                    upper = Some((changes, new("work".to_owned())?));
                }
                while lower.len() + usize::from(upper.is_some()) < 2 {
                    lower.push(new(format!("empty{}", lower.len()))?);
                }
                let upper = upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path()));
                let source = format!("lazyblob-{}", record.id);
                Overlayfs { source: &source, lower: &lower, upper, trusts, volatile: false }
                    .attach(&record.dir)
            }
            Mounts::Copy { stack } => {
                let tree = new("tree".to_owned())?;
                self.snapshots.assemble(&stack, &tree, Keep::as_able(), cancel)?;
                attach::bind(&tree, &record.dir, is_read_only, trusts)
            }
            Mounts::Tree(tree) => attach::bind(&tree, &record.dir, is_read_only, trusts),
        };
        mounted.map_err(|error| refused(error, &record.dir))
    }

    /// Takes away what belongs to a mount that does not exist: the record goes last.
    pub(super) fn forget(&self, record: &MountRecord) -> Result<()> {
        self.discard(&self.path.join(&record.id))?;
        if record.made_directory
            && let Err(error) = fs::remove_dir(&record.dir)
        {
            tracing::debug!(dir = %record.dir.display(), %error, "the directory stays");
        }
        self.discard(&self.path.join(record::file_name(&record.id)))
    }
}

/// The directory without links, and whether it was made here.
fn directory(dir: &Path) -> Result<(PathBuf, bool)> {
    let made = match fs::create_dir(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error).during(OPERATION, dir.display(), dir),
    };
    let whole = fs::canonicalize(dir).during(OPERATION, dir.display(), dir)?;
    if !whole.is_dir() {
        return Err(Error::invalid(OPERATION, dir.display(), "is not a directory"));
    }
    Ok((whole, made))
}

fn check_layers(how: &Mounts, dir: &Path) -> Result<()> {
    let Mounts::Overlay { lower, .. } = how else { return Ok(()) };
    if lower.len() < MAX_LAYERS {
        return Ok(());
    }
    let reason = format!("{} layers; overlayfs takes fewer than {MAX_LAYERS}", lower.len());
    Err(Error::refused(OPERATION, dir.display(), reason))
}

/// The last two components: the directory and what it belongs to.
fn end(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.components().rev().take(2).collect();
    parts.into_iter().rev().collect()
}

fn refused(error: io::Error, dir: &Path) -> Error {
    let what = What::new(OPERATION, dir.display());
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => Error::Refused {
            what,
            reason: "mounting needs root (CAP_SYS_ADMIN): extract to a directory instead".to_owned(),
        },
        Some(Errno::TOOBIG) => Error::Refused {
            what,
            reason: "this kernel (before 6.5) takes no more than some 200 layers".to_owned(),
        },
        _ => Error::Io { what, path: dir.to_owned(), source: error },
    }
}
