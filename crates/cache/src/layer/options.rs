//! How a layer is applied.

/// What becomes of whiteouts: what a layer says of those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// The directory has the layers below: whiteouts remove what they name. What this same layer has put there stays.
    Tree,
    /// The directory is this layer's alone, as overlayfs wants it: a whiteout is a character device 0/0 of the name, an
    /// opaque directory has the xattr `trusted.overlay.opaque=y`, one with whiteouts in it an empty
    /// `trusted.overlay.origin`, so that the kernel looks for them. It looks for opacity in every directory but the root
    /// of a layer: below a layer whose root has it, nothing may be mounted.
    Overlay,
    /// The directory is this layer's alone, and needs no privileges: markers stay what they are in the tar, empty files
    /// called `.wh.NAME` and `.wh..wh..opq`. Where there is `NAME` as well it is this layer's, and a directory hides all
    /// that the layers below have in theirs.
    Plain,
}

/// What is taken over from a tar, and what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What becomes of whiteouts.
    pub form: Form,
    /// Owners and groups are the tar's; otherwise the caller's.
    pub owners: bool,
    /// Device nodes are made; otherwise skipped and counted. Named pipes are always made; a character device 0/0, which to
    /// overlayfs is a whiteout, never.
    pub devices: bool,
    /// The setuid and setgid bits of files are kept; otherwise dropped and counted. A directory's setgid bit gives nobody
    /// anything and always stays.
    pub setuid: bool,
    /// Extended attributes are set, those of `security.` and `trusted.` among them; otherwise only those of `user.`, as
    /// far as the file system takes them. What steers overlayfs itself is never taken from a tar.
    pub xattrs: bool,
    /// Whiteouts are taken for what they say; otherwise they are files, and what the tar says of the root is not taken: it
    /// is an archive of files and no layer. For [`Form::Tree`] alone.
    pub whiteouts: bool,
    /// The owner and group of all entries, whatever the tar says; the tar's where nothing is said. Counts only with
    /// `owners`.
    pub owner: Option<(u32, u32)>,
    /// What a layer may not go beyond.
    pub limits: Limits,
}

/// What a layer may not go beyond: a blob of kilobytes must not fill a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Uncompressed bytes for each compressed one.
    pub ratio: u64,
    /// Below so many uncompressed bytes the ratio says nothing.
    pub ratio_above: u64,
    /// Entries of the tar.
    pub entries: u64,
}

impl Options {
    /// Everything as the tar has it: what a privileged process can do.
    #[must_use]
    pub fn privileged(form: Form) -> Self {
        Self {
            form,
            owners: true,
            devices: true,
            setuid: true,
            xattrs: true,
            whiteouts: true,
            owner: None,
            limits: Limits::default(),
        }
    }

    /// What a process without privileges can do.
    #[must_use]
    pub fn unprivileged(form: Form) -> Self {
        Self { owners: false, devices: false, setuid: false, xattrs: false, ..Self::privileged(form) }
    }
}

impl Limits {
    /// Layers of up to `size` bytes uncompressed, whatever they are compressed to.
    #[must_use]
    pub fn up_to(size: u64) -> Self {
        Self { size, ratio: u64::MAX, ..Self::default() }
    }
}

impl Default for Limits {
    /// 1 TiB; 200:1 above 4 GiB; 50 million entries. Layers of programs are below 20:1. Zeros are 1030:1 in gzip and ten
    /// times that in zstd, and some GiB of them (a swap file, an empty database) are in honest layers.
    fn default() -> Self {
        Self { size: 1 << 40, ratio: 200, ratio_above: 4 << 30, entries: 50_000_000 }
    }
}
