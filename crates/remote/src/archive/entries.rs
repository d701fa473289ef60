//! The table of contents of a tar file: one pass over the headers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{EntryType, Header, PaxExtensions};

use crate::error::{Error, Result, What};
use crate::layout::disk;
use crate::layout::extent::Extent;

const BLOCK: u64 = 512;
const OPERATION: &str = "open archive";
/// The most entries we index; images have hundreds.
const MAX_ENTRIES: usize = 262_144;
/// The longest extended header, in bytes: a name, not a payload.
const MAX_EXTENDED: u64 = 1024 * 1024;
/// Links in a row before we call it a loop.
const MAX_LINKS: usize = 16;

/// Where the files of an archive are.
#[derive(Debug)]
pub(crate) struct Entries {
    file: Arc<File>,
    path: Arc<PathBuf>,
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    File {
        offset: u64,
        size: u64,
    },
    /// The name it leads to, from the root of the archive.
    Link(String),
}

impl Entries {
    /// Reads the headers of the archive at `path`; `place` is named in errors.
    pub(crate) async fn read(path: &Path, place: &str) -> Result<Self> {
        let (path, named) = (path.to_owned(), place.to_owned());
        disk::blocking(|| What::new(OPERATION, place), move || read(path, &named)).await?
    }

    /// The file called `name`, through links within the archive.
    pub(crate) fn extent(&self, name: &str) -> Option<Extent> {
        let mut name = Cow::Borrowed(name);
        for _ in 0..MAX_LINKS {
            match self.entries.get(name.as_ref())? {
                Entry::File { offset, size } => {
                    let (file, path) = (Arc::clone(&self.file), Arc::clone(&self.path));
                    return Some(Extent { file, path, offset: *offset, size: *size });
                }
                Entry::Link(to) => name = Cow::Borrowed(to),
            }
        }
        None
    }

    /// The first link, if there is one.
    pub(crate) fn link(&self) -> Option<&str> {
        self.entries.iter().find(|(_, entry)| matches!(entry, Entry::Link(_))).map(|(name, _)| name.as_str())
    }
}

/// A name without `.` and doubled slashes; nothing for one that is absolute or climbs.
pub(crate) fn clean(name: &str) -> Option<String> {
    if name.starts_with('/') { None } else { join("", name) }
}

/// `name` seen from the directory `base`; nothing where it leads out of the archive.
fn join(base: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            // Only a link climbs, and not above the root.
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn read(path: PathBuf, place: &str) -> Result<Entries> {
    let io = |error| Error::io(OPERATION, place, &path, error);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Error::invalid(OPERATION, place, "not a regular file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::not_found(OPERATION, place, "no such file"));
        }
        Err(error) => return Err(io(error)),
    }
    let file = File::open(&path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut pass = Pass { file: &file, path: &path, place, length, position: 0 };
    pass.refuse_compressed()?;
    let mut entries = HashMap::new();
    let mut extended = Extended::default();
    while let Some((header, data)) = pass.header()? {
        let kind = header.entry_type();
        if kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() {
            extended.take(kind, &pass.small(data)?, &pass)?;
        } else if !kind.is_pax_global_extensions() {
            let Extended { name, link, size } = std::mem::take(&mut extended);
            let size = size.unwrap_or(data.1);
            let name = name.map_or_else(|| pass.text(header.path_bytes()), Ok)?;
            let link = || match link {
                Some(link) => Ok(link),
                None => pass.text(header.link_name_bytes().unwrap_or_default()),
            };
            if let Some(entry) = pass.entry(kind, &name, (data.0, size), link)? {
                entries.insert(pass.clean(&name)?, entry);
            }
            pass.skip_to((data.0, size), &name)?;
        }
        if entries.len() > MAX_ENTRIES {
            let reason = format!("it has more than {MAX_ENTRIES} entries");
            return Err(Error::refused(OPERATION, place, reason));
        }
    }
    Ok(Entries { file: Arc::new(file), path: Arc::new(path), entries })
}

/// The pass over the headers.
struct Pass<'a> {
    file: &'a File,
    path: &'a Path,
    place: &'a str,
    length: u64,
    position: u64,
}

/// What extended headers say of the entry after them.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Extended {
    fn take(&mut self, kind: EntryType, bytes: &[u8], pass: &Pass<'_>) -> Result<()> {
        let until_nul =
            |bytes: &[u8]| pass.text(bytes.split(|byte| *byte == 0).next().unwrap_or(bytes).into());
        if kind.is_gnu_longname() {
            self.name = Some(until_nul(bytes)?);
        } else if kind.is_gnu_longlink() {
            self.link = Some(until_nul(bytes)?);
        } else {
            for field in PaxExtensions::new(bytes) {
                let field = field.map_err(|error| pass.broken(error))?;
                let value = || pass.text(field.value_bytes().into());
                match field.key_bytes() {
                    b"path" => self.name = Some(value()?),
                    b"linkpath" => self.link = Some(value()?),
                    b"size" => {
                        let size = value()?;
                        self.size = Some(size.parse().map_err(|_| pass.broken(format!("size {size}")))?);
                    }
                    key if key.starts_with(b"GNU.sparse.") => return Err(pass.broken("a sparse file")),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Pass<'_> {
    /// The next header with offset and size of what follows it; nothing at the end.
    fn header(&mut self) -> Result<Option<(Header, (u64, u64))>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let filled = disk::read_at_most(self.file, block, self.position)
            .map_err(|error| Error::io(OPERATION, self.place, self.path, error))?;
        if filled == 0 || (filled == block.len() && block.iter().all(|byte| *byte == 0)) {
            return Ok(None);
        }
        if filled < block.len() {
            return Err(self.broken("it is truncated"));
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
        // The sum counts its own field as eight spaces.
        if header.cksum().ok() != Some(sum - own + 8 * 32) {
            return Err(self.broken(if self.position == 0 {
                "not a tar file"
            } else {
                "a header is damaged"
            }));
        }
        let size = header.entry_size().map_err(|error| self.broken(error))?;
        self.position += BLOCK;
        Ok(Some((header, (self.position, size))))
    }

    /// What the archive holds under a name, if it concerns us.
    fn entry(
        &self,
        kind: EntryType,
        name: &str,
        (offset, size): (u64, u64),
        link: impl FnOnce() -> Result<String>,
    ) -> Result<Option<Entry>> {
        let cleaned = self.clean(name)?;
        let to = match kind {
            // Old archives mark a directory by the slash alone.
            EntryType::Regular | EntryType::Continuous if name.ends_with('/') => return Ok(None),
            EntryType::Regular | EntryType::Continuous => return Ok(Some(Entry::File { offset, size })),
            EntryType::Symlink => {
                let link = link()?;
                let dir = cleaned.rsplit_once('/').map_or("", |(dir, _)| dir);
                if link.starts_with('/') { None } else { join(dir, &link) }
            }
            EntryType::Link => clean(&link()?),
            EntryType::GNUSparse => return Err(self.broken(format!("{name} is a sparse file"))),
            _ => return Ok(None),
        };
        let refused = || {
            let reason = format!("link {} leads out of the archive", name.escape_debug());
            Error::refused(OPERATION, self.place, reason)
        };
        to.map(|to| Some(Entry::Link(to))).ok_or_else(refused)
    }

    fn clean(&self, name: &str) -> Result<String> {
        let climbs = name.split('/').any(|part| part == "..");
        clean(name).filter(|_| !climbs).ok_or_else(|| {
            let reason = format!("entry {} leads out of the archive", name.escape_debug());
            Error::refused(OPERATION, self.place, reason)
        })
    }

    /// Reads an extended header's content and goes past it.
    fn small(&mut self, (offset, size): (u64, u64)) -> Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(self.broken(format!("an extended header of {size} bytes")));
        }
        self.skip_to((offset, size), "an extended header")?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        disk::read_at_most(self.file, &mut bytes, offset)
            .map_err(|error| Error::io(OPERATION, self.place, self.path, error))?;
        Ok(bytes)
    }

    fn skip_to(&mut self, (offset, size): (u64, u64), name: &str) -> Result<()> {
        let end = offset.checked_add(size).filter(|end| *end <= self.length);
        let Some(end) = end else {
            return Err(self.broken(format!("it is truncated within {}", name.escape_debug())));
        };
        self.position = end.next_multiple_of(BLOCK);
        Ok(())
    }

    fn refuse_compressed(&self) -> Result<()> {
        let mut magic = [0; 6];
        disk::read_at_most(self.file, &mut magic, 0)
            .map_err(|error| Error::io(OPERATION, self.place, self.path, error))?;
        let by = match magic {
            [0x1f, 0x8b, ..] => "gzip",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
            [b'B', b'Z', b'h', ..] => "bzip2",
            [0xfd, b'7', b'z', b'X', b'Z', 0] => "xz",
            _ => return Ok(()),
        };
        let reason = format!("it is compressed with {by}; decompress it first, layers are compressed anyway");
        Err(Error::invalid(OPERATION, self.place, reason))
    }

    fn text(&self, bytes: Cow<'_, [u8]>) -> Result<String> {
        String::from_utf8(bytes.into_owned()).map_err(|_| self.broken("a name is not UTF-8"))
    }

    fn broken(&self, reason: impl std::fmt::Display) -> Error {
        Error::invalid(OPERATION, self.place, format_args!("broken archive: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_archive() {
        assert_eq!(clean("./a//b/.").as_deref(), Some("a/b"));
        assert_eq!(clean("/a"), None);
        assert_eq!(clean("../a"), None);
        assert_eq!(join("a/b", "../c/layer.tar").as_deref(), Some("a/c/layer.tar"));
        assert_eq!(join("a", "../../etc"), None);
    }
}
