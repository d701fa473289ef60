//! Tars built byte by byte, wrong ones too.

use std::io::Write as _;

/// A tar that is being built. Every method appends; nothing is checked.
#[derive(Clone, Debug, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// A header, field by field.
#[derive(Clone, Debug)]
pub struct Header {
    /// The type flag.
    pub kind: u8,
    /// The name; what is behind 100 bytes is cut off.
    pub name: Vec<u8>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// The size that is written; that of the data where nothing is said.
    pub size: Option<u64>,
    /// Magic and version: `ustar\0` and `00`, `ustar  \0` for GNU, zeros for v7.
    pub magic: [u8; 8],
    /// Bytes put at offsets at the end, before the checksum.
    pub patches: Vec<(usize, Vec<u8>)>,
}

impl Header {
    /// A header of this type: 0644 (0755 for directories), of root, of one day in 2023.
    pub fn new(kind: u8, name: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            name: name.into(),
            link: Vec::new(),
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            device: (0, 0),
            size: None,
            magic: *b"ustar\x0000",
            patches: Vec::new(),
        }
    }

    /// With permissions.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With an owner and a group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// With a time.
    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Self {
        self.mtime = seconds;
        self
    }

    /// With the target of a link.
    #[must_use]
    pub fn link(mut self, target: impl Into<Vec<u8>>) -> Self {
        self.link = target.into();
        self
    }

    /// With major and minor.
    #[must_use]
    pub fn device(mut self, major: u32, minor: u32) -> Self {
        self.device = (major, minor);
        self
    }

    /// With a size that need not be that of the data.
    #[must_use]
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// As GNU tar writes it.
    #[must_use]
    pub fn gnu(mut self) -> Self {
        self.magic = *b"ustar  \0";
        self
    }

    /// As the seventh edition wrote it.
    #[must_use]
    pub fn v7(mut self) -> Self {
        self.magic = [0; 8];
        self
    }

    /// With these bytes at an offset, whatever belongs there.
    #[must_use]
    pub fn patch(mut self, at: usize, bytes: impl Into<Vec<u8>>) -> Self {
        self.patches.push((at, bytes.into()));
        self
    }

    /// The block.
    #[must_use]
    pub fn block(&self, length: u64) -> [u8; 512] {
        let mut block = [0; 512];
        put(&mut block, 0, self.name.get(..100).unwrap_or(&self.name));
        put(&mut block, 100, format!("{:07o}\0", self.mode).as_bytes());
        put(&mut block, 108, format!("{:07o}\0", self.uid).as_bytes());
        put(&mut block, 116, format!("{:07o}\0", self.gid).as_bytes());
        put(&mut block, 124, format!("{:011o}\0", self.size.unwrap_or(length)).as_bytes());
        put(&mut block, 136, format!("{:011o}\0", self.mtime).as_bytes());
        put(&mut block, 156, &[self.kind]);
        put(&mut block, 157, self.link.get(..100).unwrap_or(&self.link));
        put(&mut block, 257, &self.magic);
        if self.magic != [0; 8] {
            put(&mut block, 329, format!("{:07o}\0", self.device.0).as_bytes());
            put(&mut block, 337, format!("{:07o}\0", self.device.1).as_bytes());
        }
        for (at, bytes) in &self.patches {
            put(&mut block, *at, bytes);
        }
        put(&mut block, 148, b"        ");
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

impl Tar {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with its data.
    #[must_use]
    pub fn entry(mut self, header: &Header, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.bytes.extend(header.block(data.len().try_into().unwrap_or(u64::MAX)));
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// A file.
    #[must_use]
    pub fn file(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.entry(&Header::new(b'0', name), data)
    }

    /// A directory of this mode.
    #[must_use]
    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(&Header::new(b'5', name).mode(mode), [])
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(&Header::new(b'2', name).mode(0o777).link(target), [])
    }

    /// A hard link.
    #[must_use]
    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(&Header::new(b'1', name).link(target), [])
    }

    /// A whiteout of a file, or `.wh..opq` for the directory.
    #[must_use]
    pub fn whiteout(self, dir: &str, name: &str) -> Self {
        self.entry(&Header::new(b'0', format!("{dir}.wh.{name}")).mode(0), [])
    }

    /// An extended header for the entry behind it.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'x', records)
    }

    /// An extended header of this type.
    #[must_use]
    pub fn extended(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length += 1;
            }
            // Writing to a vector cannot fail.
            let _ = write!(data, "{length} {key}=");
            data.extend(*value);
            data.push(b'\n');
        }
        self.entry(&Header::new(kind, "extended"), data)
    }

    /// GNU's long name (`L`) or long target (`K`) for the entry behind it.
    #[must_use]
    pub fn gnu_long(self, kind: u8, name: impl AsRef<[u8]>) -> Self {
        let data = [name.as_ref(), b"\0"].concat();
        self.entry(&Header::new(kind, "././@LongLink").gnu(), data)
    }

    /// Any bytes.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend(bytes.as_ref());
        self
    }

    /// The bytes, two blocks of zeros at their end.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        self.raw([0; 1024]).bytes
    }

    /// The bytes as they are.
    #[must_use]
    pub fn cut(self) -> Vec<u8> {
        self.bytes
    }
}

fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
