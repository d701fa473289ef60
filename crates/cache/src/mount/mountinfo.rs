//! The mount table of this process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::record::Mark;
use crate::error::{IoContext as _, Result};

const TABLE: &str = "/proc/self/mountinfo";

/// A line of the table (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory of its file system that is shown.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) source: String,
}

impl Mount {
    /// Whether it is the mount a record speaks of.
    pub(super) fn is(&self, dir: &Path, mark: &Mark) -> bool {
        self.has(mark) && self.point == dir
    }

    /// Whether it is that mount, wherever it is.
    pub(super) fn has(&self, mark: &Mark) -> bool {
        match mark {
            Mark::Overlay(source) => self.kind == "overlay" && self.source == *source,
            Mark::Directory(directory) => self.root.ends_with(directory),
        }
    }
}

/// All mounts, in the order they were made.
pub(super) fn read() -> Result<Vec<Mount>> {
    let table = fs::read(TABLE).during("read mount table", TABLE, Path::new(TABLE))?;
    Ok(parse_all(&table))
}

/// The mounts of a table.
pub(super) fn parse_all(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = path(fields.nth(3)?);
    let point = path(fields.next()?);
    // Options, then any number of optional fields, which end with a dash.
    fields.by_ref().find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = path(fields.next()?).to_string_lossy().into_owned();
    Some(Mount { root, point, kind, source })
}

/// Blanks, tabs, newlines, backslashes and `#` are three octal digits after a backslash.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        let octal = others.get(..3).filter(|_| *first == b'\\').and_then(octal);
        if octal.is_some() {
            rest = others.get(3..).unwrap_or_default();
        }
        bytes.push(octal.unwrap_or(*first));
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_what_is_escaped_in_them() {
        let line =
            br"36 35 98:0 /a\040b /mnt/x\134y\012 rw,noatime master:1 shared:2 - overlay lazy\043blob rw,x=1";
        let mount = parse(line).unwrap();
        assert_eq!(mount.root, Path::new("/a b"));
        assert_eq!(mount.point, Path::new("/mnt/x\\y\n"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("overlay", "lazy#blob"));
        assert!(mount.is(Path::new("/mnt/x\\y\n"), &Mark::Overlay("lazy#blob".to_owned())));
        assert!(!mount.is(Path::new("/mnt"), &Mark::Overlay("lazy#blob".to_owned())), "elsewhere");
        assert!(!mount.is(Path::new("/mnt/x\\y\n"), &Mark::Overlay("lazyblob".to_owned())), "another");
        assert_eq!(parse(b"36 35 98:0 / /mnt rw"), None, "cut off");
    }
}
