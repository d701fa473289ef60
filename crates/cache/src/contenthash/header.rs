//! What is hashed of one file: all that is said of it, then its content.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use super::sum::Sum;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file. A hard link is one, each name by itself.
    File,
    /// A directory, without what is in it.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket: it counts as an empty regular file.
    Socket,
}

impl Kind {
    /// As a tar has it.
    fn flag(self) -> char {
        match self {
            Self::File | Self::Socket => '0',
            Self::Symlink => '2',
            Self::Character => '3',
            Self::Block => '4',
            Self::Directory => '5',
            Self::Fifo => '6',
        }
    }
}

/// What is said of a file, but for its name and its times, which never count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Permissions, setuid, setgid and sticky bits; what else is set does not count, nor does any of it for a link.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// In bytes; counts for regular files only.
    pub size: u64,
    /// Where a symbolic link leads; empty for others.
    pub target: Vec<u8>,
    /// Major and minor number of a device as the sender of a local directory says them. Of a snapshot it is (0, 0).
    pub device: (u32, u32),
    /// Names and values, in any order; those that do not count may be among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// A file of this kind that is root's and of which nothing else is to be said.
    #[must_use]
    pub fn new(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, size: 0, target: Vec::new(), device: (0, 0), xattrs: Vec::new() }
    }

    /// How many bytes of content count.
    #[must_use]
    pub fn content(&self) -> u64 {
        if self.kind == Kind::File { self.size } else { 0 }
    }

    /// What is hashed before the content: names and values of a tar header's fields in the order that Docker's first
    /// builder had them, with no times and an empty name, then the extended attributes by name.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mode = if self.kind == Kind::Symlink { 0o777 } else { self.mode & 0o7777 };
        let mut text = String::with_capacity(96);
        // Writing to a String cannot fail.
        let _ = write!(text, "namemode{mode}uid{}gid{}size{}", self.uid, self.gid, self.content());
        let _ = write!(text, "typeflag{}linkname", self.kind.flag());
        let mut header = text.into_bytes();
        if self.kind == Kind::Symlink {
            header.extend_from_slice(&self.target);
        }
        let (major, minor) = self.device;
        header.extend_from_slice(format!("unamegnamedevmajor{major}devminor{minor}").as_bytes());
        let mut xattrs: Vec<_> = self.xattrs.iter().filter(|(name, _)| counts(name)).collect();
        xattrs.sort_unstable();
        for (name, value) in xattrs {
            header.extend_from_slice(name);
            header.extend_from_slice(value);
        }
        header
    }
}

/// Whether an extended attribute of this name counts: not what the machine says of the file, but for its capabilities.
/// `com.apple.` is seen where a Mac sends a directory.
fn counts(name: &[u8]) -> bool {
    name == b"security.capability"
        || !["security.", "system.", "com.apple."].iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Hashes one file, while it arrives if need be.
#[derive(Clone)]
pub struct FileHasher(Sha256);

impl FileHasher {
    /// Begins with what is said of the file.
    #[must_use]
    pub fn new(meta: &Meta) -> Self {
        Self(Sha256::new_with_prefix(meta.header()))
    }

    /// Takes in more of a regular file's content.
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// The digest of the file.
    #[must_use]
    pub fn finish(self) -> Sum {
        Sum::finish(self.0)
    }
}

impl fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(meta: &Meta) -> String {
        String::from_utf8(meta.header()).unwrap()
    }

    #[test]
    fn what_counts_is_in_the_header() {
        let file = Meta { size: 1, ..Meta::new(Kind::File, 0o100_644) };
        assert_eq!(header(&file), "namemode420uid0gid0size1typeflag0linknameunamegnamedevmajor0devminor0");
        let link = Meta { size: 6, target: b"target".to_vec(), ..Meta::new(Kind::Symlink, 0o644) };
        assert_eq!(
            header(&link),
            "namemode511uid0gid0size0typeflag2linknametargetunamegnamedevmajor0devminor0"
        );
        let device = Meta { uid: 1, gid: 2, device: (8, 1), ..Meta::new(Kind::Block, 0o660) };
        assert_eq!(header(&device), "namemode432uid1gid2size0typeflag4linknameunamegnamedevmajor8devminor1");
        let directory = Meta { size: 4096, ..Meta::new(Kind::Directory, 0o41_777) };
        assert_eq!(
            header(&directory),
            "namemode1023uid0gid0size0typeflag5linknameunamegnamedevmajor0devminor0"
        );
        assert_eq!(Meta::new(Kind::Socket, 0o755).header(), Meta::new(Kind::File, 0o755).header());
    }

    #[test]
    fn attributes_of_the_machine_do_not_count() {
        let xattrs = [
            ("user.b", "2"),
            ("user.A", "1"),
            ("security.selinux", "x"),
            ("security.capability", "cap"),
            ("system.posix_acl_access", "x"),
            ("trusted.t", "3"),
        ];
        let xattrs = xattrs.map(|(name, value)| (name.into(), value.into())).to_vec();
        let text = header(&Meta { xattrs, ..Meta::new(Kind::Fifo, 0) });
        assert!(text.ends_with("devminor0security.capabilitycaptrusted.t3user.A1user.b2"), "{text}");
    }
}
