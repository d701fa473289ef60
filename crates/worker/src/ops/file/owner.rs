//! Who names of users and groups are.

use std::fs::File;
use std::io::Read as _;

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::fault::{At as _, Done, Fault};
use super::tree::{Facts, Root};

/// No such file is that long.
const MOST: u64 = 16 << 20;

/// The number of a user and of its group, by the tree's own `/etc/passwd`.
pub(super) fn user(root: &Root, name: &str) -> Done<Option<(u32, u32)>> {
    let text = text(root, b"/etc/passwd")?;
    Ok(lines(&text, name).find_map(|fields| Some((number(&fields, 2)?, number(&fields, 3)?))))
}

/// The number of a group, by the tree's own `/etc/group`.
pub(super) fn group(root: &Root, name: &str) -> Done<Option<u32>> {
    let text = text(root, b"/etc/group")?;
    Ok(lines(&text, name).find_map(|fields| number(&fields, 2)))
}

fn lines<'a>(text: &'a [u8], name: &'a str) -> impl Iterator<Item = Vec<&'a [u8]>> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>()).filter(move |fields| {
        fields
            .first()
            .is_some_and(|first| *first == name.as_bytes() && !matches!(first.first(), None | Some(b'#')))
    })
}

fn number(fields: &[&[u8]], at: usize) -> Option<u32> {
    std::str::from_utf8(fields.get(at)?).ok()?.parse().ok()
}

/// What is in a file of the tree, links followed; nothing where there is none.
fn text(root: &Root, path: &[u8]) -> Done<Vec<u8>> {
    let place = match root.find(path, true) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        found => found.at(path)?,
    };
    let Some(name) = place.name() else { return Ok(Vec::new()) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match Facts::find(place.dir(), name).at(path)? {
        None => return Ok(Vec::new()),
        // What is opened may do things.
        Some(facts) if facts.kind() != FileType::RegularFile => {
            return Err(Fault::wrong(path, "it is not a regular file"));
        }
        Some(facts) if facts.size() > MOST => return Err(Fault::wrong(path, "it is larger than 16 MiB")),
        Some(_) => {}
    }
    let file = File::from(fs::openat(place.dir(), name, flags, Mode::empty()).at(path)?);
    let mut text = Vec::new();
    let read = file.take(MOST).read_to_end(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).at(path)?;
    Ok(text)
}
