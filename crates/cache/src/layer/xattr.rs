//! Extended attributes that are an image's, those that never are, and the one that is ours.

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The mode an image gives a file or directory of a plain snapshot that its owner could not read with it: octal digits.
/// It is stored readable, so that whoever reads a snapshot changes nothing of it. Fedora's `/etc/shadow` is such a file.
pub(crate) const MODE: &str = "user.lazyblob.mode";

/// Whether an image has it: not what steers overlayfs, not what is ours, and not what the machine says of a file it has
/// on its disk: those are never taken from a tar, nor copied, nor written to one.
pub(crate) fn is_of_image(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && !matches!(name, b"security.selinux" | b"system.nfs4_acl")
        && name != MODE.as_bytes()
}

/// Whether an attribute is one of a kind that this file, this file system or this process does not have: it is left out
/// and counted, whoever copies it, wherever it comes from.
pub(crate) fn is_refused(error: Errno) -> bool {
    matches!(error, Errno::OPNOTSUPP | Errno::PERM)
}

/// The mode that a plain snapshot stores for `mode`: one with which its owner can read it.
pub(crate) fn stored_mode(mode: u32, is_dir: bool) -> u32 {
    mode | if is_dir { 0o500 } else { 0o400 }
}

/// Notes the mode of a file that `set` sets attributes of. Says whether it could.
pub(crate) fn note_mode(
    mode: u32,
    set: impl FnOnce(&str, &[u8], XattrFlags) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    match set(MODE, format!("{mode:o}").as_bytes(), XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(error) if is_refused(error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The mode an image gives a file that is stored with the mode `stored`: what is noted of it, by what `get` says of its
/// attribute, if that is why it is stored so.
pub(crate) fn mode_of(
    stored: u32,
    is_dir: bool,
    get: impl FnOnce(&str, &mut [u8]) -> Result<usize, Errno>,
) -> Result<u32, Errno> {
    let mut value = [0; 8];
    let length = match get(MODE, &mut value) {
        Ok(length) => length,
        // Longer than ours is; and what may not be read has no note.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::ACCESS) => return Ok(stored),
        Err(error) => return Err(error),
    };
    let digits = value.get(..length).and_then(|digits| std::str::from_utf8(digits).ok());
    let noted = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
    Ok(noted.filter(|noted| stored_mode(*noted, is_dir) == stored).unwrap_or(stored))
}
