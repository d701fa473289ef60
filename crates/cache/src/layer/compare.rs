//! Whether an unpacked layer still is what its tar says.
//!
//! Not every entry lies where its name says: links of this layer and of those below lead elsewhere. So an entry is looked
//! at only where all directories of its name are directories in the tree, no link of the layer was ever one of them, and no
//! entry that lies elsewhere has the same last part and may have taken its place. What is not looked at is not wrong.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use lazyblob_remote::What;
use lazyblob_remote::digest::Hasher;
use oci_spec::image::{Digest, DigestAlgorithm};
use tokio_util::sync::CancellationToken;

use super::apply::name::{self, Asked};
use super::stream::Bytes;
use super::tarball::{Entry, Extent, Kind, Reader};
use super::xattr;
use super::{Limits, uncompressed};
use crate::error::{Error, IoContext as _, Mismatch, Result};

const OPERATION: &str = "compare with layer";
/// Bytes of a file read at once.
const CHUNK: usize = 256 << 10;
/// Links behind links behind links: no honest layer has so many that it takes more looks.
const LOOKS: usize = 16;
/// Sets other permission bits than the mode says.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// What a layer says of one name.
#[derive(Clone, Debug)]
struct Said {
    what: Content,
    /// Permissions and special bits; nothing where they are another's business.
    mode: Option<u32>,
    /// Names by which a hard link came to it.
    via: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Content {
    File { size: u64, extents: Vec<Extent>, sha256: String },
    Directory,
    Link(Vec<u8>),
}

/// All that a layer says.
#[derive(Default)]
struct Layer {
    said: BTreeMap<Vec<u8>, Said>,
    /// Everything that was put somewhere, and whether it may be a link to a directory.
    entries: Vec<(Vec<u8>, bool)>,
    links: HashSet<Vec<u8>>,
}

/// Holds the tree at `dir` against the layer that was unpacked there, compressed in any way: kinds, sizes, content and
/// permissions of files and directories, targets of links. Says what differs, sorted by name; nothing where the layer's
/// links are such that it cannot be told. `lacks_setuid`: setuid and setgid bits may have been left out. Blocks.
///
/// # Errors
/// [`Error::Integrity`] for a layer that is not `diff_id`, [`Error::Invalid`] and [`Error::Refused`] for one that cannot
/// be read, [`Error::Cancelled`], [`Error::Io`].
pub(crate) fn compare(
    layer: impl Read + Send,
    diff_id: &Digest,
    dir: &Path,
    lacks_setuid: bool,
    cancel: &CancellationToken,
) -> Result<Option<Vec<String>>> {
    let what = What::new(OPERATION, dir.display());
    let (layer, actual) = uncompressed::read(layer, &what, cancel, |pipe| {
        let Some(hasher) = Hasher::new(diff_id.algorithm()) else {
            let reason = format!("a diffID by {} cannot be checked", diff_id.algorithm());
            return Err(Error::Invalid { what: what.clone(), reason });
        };
        let bytes = Bytes::new(pipe, hasher, Limits::default().size, what.clone(), cancel);
        let mut reader = Reader::new(bytes, what.clone());
        let mut layer = Layer::default();
        while let Some(entry) = reader.next()? {
            layer.take(entry, &mut reader)?;
        }
        Ok((layer, reader.finish()?.0))
    })?;
    if actual != diff_id.to_string() {
        let mismatch = Mismatch::DiffId { expected: diff_id.to_string(), actual };
        return Err(Error::Integrity { what, mismatch });
    }
    let Some(mut plain) = layer.places(dir, &what, cancel)? else { return Ok(None) };
    let mut wrong = Vec::new();
    for (path, said) in &layer.said {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled { what });
        }
        let mut names = said.via.iter().chain([path]);
        if names.any(|name| plain.elsewhere.contains(name::last(name)) || !plain.has(name::parent(name))) {
            continue;
        }
        if let Some(reason) = said.differs(&dir.join(OsStr::from_bytes(path)), lacks_setuid)? {
            wrong.push(format!("{}: {reason}", path.escape_ascii()));
        }
    }
    Ok(Some(wrong))
}

impl Layer {
    fn take(&mut self, entry: Entry, reader: &mut Reader<'_>) -> Result<()> {
        // Who unpacked it has seen to names that cannot be.
        let Ok(Asked::File(place)) = name::asked(&entry.path) else { return Ok(()) };
        let path = name::join(&place.parent, &place.last);
        let is_link = matches!(entry.kind, Kind::Symlink | Kind::Hardlink);
        self.entries.push((path.clone(), is_link));
        if is_link {
            self.links.insert(path.clone());
        }
        let has_list = entry.xattrs.iter().any(|xattr| xattr.name == ACCESS_LIST);
        let mode = Some(entry.mode).filter(|_| !has_list);
        let said = match entry.kind {
            Kind::File => Some(Said { what: content(&entry, reader)?, mode, via: Vec::new() }),
            Kind::Directory => Some(Said { what: Content::Directory, mode, via: Vec::new() }),
            Kind::Symlink => Some(Said { what: Content::Link(entry.link), mode: None, via: Vec::new() }),
            Kind::Hardlink => self.linked(&entry.link),
            Kind::Character | Kind::Block | Kind::Fifo => None,
        };
        if !said.as_ref().is_some_and(|said| matches!(said.what, Content::Directory)) {
            let below = [&path[..], b"/"].concat();
            let gone = self.said.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
            let gone: Vec<Vec<u8>> = gone.map(|(name, _)| name.clone()).collect();
            for name in gone {
                self.said.remove(&name);
            }
        }
        match said {
            Some(said) => drop(self.said.insert(path, said)),
            None => drop(self.said.remove(&path)),
        }
        Ok(())
    }

    /// What is known of the target of a hard link; nothing of one in the layers below.
    fn linked(&self, target: &[u8]) -> Option<Said> {
        let target = name::target(target).ok()?;
        let path = name::join(&target.parent, &target.last);
        let mut said = self.said.get(&path)?.clone();
        said.via.push(path);
        Some(said)
    }

    /// Which directories of the tree are what their names say; nothing where that cannot be told.
    fn places<'a>(
        &'a self,
        dir: &'a Path,
        what: &What,
        cancel: &CancellationToken,
    ) -> Result<Option<Plain<'a>>> {
        let mut plain = Plain {
            dir,
            links: &self.links,
            astray: HashSet::new(),
            known: HashMap::new(),
            elsewhere: HashSet::new(),
        };
        for _ in 0..LOOKS {
            let before = plain.astray.len();
            plain.known.clear();
            for (path, is_link) in &self.entries {
                if cancel.is_cancelled() {
                    return Err(Error::Cancelled { what: what.clone() });
                }
                if plain.has(name::parent(path)) {
                    continue;
                }
                plain.elsewhere.insert(name::last(path));
                // Wherever it is: what has a part of this name may have gone through it.
                if *is_link {
                    plain.astray.insert(name::last(path));
                }
            }
            if plain.astray.len() == before {
                return Ok(Some(plain));
            }
        }
        Ok(None)
    }
}

/// Reads the data of an entry.
fn content(entry: &Entry, reader: &mut Reader<'_>) -> Result<Content> {
    let mut hasher = hasher()?;
    loop {
        let data = reader.data()?;
        if data.is_empty() {
            break;
        }
        hasher.update(data);
        let read = data.len();
        reader.consume(read);
    }
    let whole = || vec![Extent { offset: 0, length: entry.size }];
    let extents = entry.extents.clone().unwrap_or_else(whole);
    Ok(Content::File { size: entry.size, extents, sha256: hasher.finish() })
}

fn hasher() -> Result<Hasher> {
    Hasher::new(&DigestAlgorithm::Sha256)
        .ok_or_else(|| Error::invalid(OPERATION, "its files", "sha256 cannot be computed"))
}

/// Directories whose names lead through no link.
struct Plain<'a> {
    dir: &'a Path,
    links: &'a HashSet<Vec<u8>>,
    /// Last parts of links that are not where their names say.
    astray: HashSet<&'a [u8]>,
    known: HashMap<Vec<u8>, bool>,
    /// Last parts of all names that lead elsewhere.
    elsewhere: HashSet<&'a [u8]>,
}

impl Plain<'_> {
    fn has(&mut self, path: Option<&[u8]>) -> bool {
        let Some(path) = path.filter(|path| !path.is_empty()) else { return true };
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        // From the top: a name has 2000 parts at most, and each directory is looked at once.
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut is_plain = true;
        for end in ends.chain([path.len()]) {
            let Some(part) = path.get(..end) else { continue };
            is_plain = is_plain
                && match self.known.get(part) {
                    Some(known) => *known,
                    None => {
                        !self.links.contains(part)
                            && !self.astray.contains(name::last(part))
                            && fs::symlink_metadata(self.dir.join(OsStr::from_bytes(part)))
                                .is_ok_and(|found| found.is_dir())
                    }
                };
            self.known.insert(part.to_vec(), is_plain);
        }
        is_plain
    }
}

impl Said {
    /// How what is there differs. What is gone has gone elsewhere, or is counted as missing.
    fn differs(&self, path: &Path, lacks_setuid: bool) -> Result<Option<String>> {
        match self.look(path, lacks_setuid) {
            Err(error)
                if matches!(
                    error.kind(),
                    // What may not be read by who looks, or has a name too long to be looked at, cannot be told.
                    io::ErrorKind::NotFound
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidFilename
                ) =>
            {
                Ok(None)
            }
            looked => looked.during(OPERATION, path.display(), path),
        }
    }

    fn look(&self, path: &Path, lacks_setuid: bool) -> io::Result<Option<String>> {
        let found = fs::symlink_metadata(path)?;
        let other = match &self.what {
            Content::File { size, .. } if found.is_file() => (found.len() != *size)
                .then(|| format!("it has {} bytes, and its layer says {size}", found.len())),
            Content::Directory if found.is_dir() => None,
            Content::Link(target) if found.is_symlink() => {
                let leads = fs::read_link(path)?;
                (leads.as_os_str() != OsStr::from_bytes(target))
                    .then(|| "it leads elsewhere than its layer says".to_owned())
            }
            _ => Some("it is of another kind than its layer says".to_owned()),
        };
        if other.is_some() {
            return Ok(other);
        }
        if let Some(mode) = self.mode {
            // Files that their owner could not read are stored readable, with their mode in a note.
            let note = |name: &str, value: &mut [u8]| rustix::fs::getxattr(path, name, value);
            let actual = xattr::mode_of(found.mode() & 0o7777, found.is_dir(), note)?;
            if let Some(reason) = other_mode(actual, mode, lacks_setuid) {
                return Ok(Some(reason));
            }
        }
        let Content::File { extents, sha256, .. } = &self.what else { return Ok(None) };
        let is_same = hash(&File::open(path)?, extents)? == *sha256;
        Ok((!is_same).then(|| "its content is not what its layer says".to_owned()))
    }
}

fn other_mode(actual: u32, mode: u32, lacks_setuid: bool) -> Option<String> {
    let is_same = actual == mode || lacks_setuid && actual == mode & !0o6000;
    (!is_same).then(|| format!("its mode is {actual:04o}, and its layer says {mode:04o}"))
}

/// Of the data alone: holes are not read.
fn hash(file: &File, extents: &[Extent]) -> io::Result<String> {
    let mut hasher = hasher().map_err(io::Error::other)?;
    let mut chunk = vec![0; CHUNK];
    for extent in extents {
        let (mut at, mut left) = (extent.offset, extent.length);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = match file.read_at(chunk.get_mut(..wanted).unwrap_or_default(), at) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            hasher.update(chunk.get(..read).unwrap_or_default());
            let read = u64::try_from(read).unwrap_or(left);
            (at, left) = (at + read, left.saturating_sub(read));
        }
    }
    Ok(hasher.finish())
}
