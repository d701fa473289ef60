//! Names of entries, made harmless: relative, without `.` and `..`, and told apart from the marks of whiteouts.

/// What a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::layer) enum Asked {
    /// The root itself.
    Root,
    /// A file of this name.
    File(Name),
    /// That this be gone from the layers below.
    Whiteout(Name),
    /// That all that this directory has in the layers below be gone.
    Opaque(Vec<u8>),
    /// AUFS's own metadata, which nobody wants.
    Ignored,
}

/// A name below the root, in two parts.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::layer) struct Name {
    /// The directory, without slashes around it; empty for the root.
    pub(in crate::layer) parent: Vec<u8>,
    /// The last part.
    pub(in crate::layer) last: Vec<u8>,
}

/// What is wrong with a name.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::layer) enum Wrong {
    /// A rule of ours is against it.
    Refused(&'static str),
    /// No file can be called that.
    Invalid(&'static str),
}

const MARK: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The longest name of one file; every file system of Linux has it.
const LONGEST: usize = 255;
/// The longest name the kernel takes, with the NUL behind it (`PATH_MAX`).
const MOST: usize = 4096;

/// Decides what a name asks for (image-spec layer.md, "Whiteouts").
pub(in crate::layer) fn asked(path: &[u8]) -> Result<Asked, Wrong> {
    let mut parts = parts(path)?;
    let Some(last) = parts.pop() else { return Ok(Asked::Root) };
    if parts.iter().any(|part| part.starts_with(META)) {
        return Ok(Asked::Ignored);
    }
    if parts.iter().any(|part| is_mark(part)) {
        return Err(Wrong::Refused("something lies in a whiteout"));
    }
    let parent = parts.join(&b'/');
    if last == OPAQUE {
        return Ok(Asked::Opaque(parent));
    }
    if last.starts_with(META) {
        return Ok(Asked::Ignored);
    }
    match last.strip_prefix(MARK) {
        Some(b"" | b"." | b"..") => Err(Wrong::Refused("a whiteout of no name")),
        Some(hidden) => Ok(Asked::Whiteout(Name { parent, last: hidden.to_vec() })),
        None => Ok(Asked::File(Name { parent, last: last.to_vec() })),
    }
}

/// What a name asks for in an archive that is no layer: marks are names, and the root is not spoken of.
pub(in crate::layer) fn plain(path: &[u8]) -> Result<Asked, Wrong> {
    let mut parts = parts(path)?;
    let Some(last) = parts.pop() else { return Ok(Asked::Ignored) };
    Ok(Asked::File(Name { parent: parts.join(&b'/'), last: last.to_vec() }))
}

/// The target of a hard link, relative to the root.
pub(in crate::layer) fn target(path: &[u8]) -> Result<Name, Wrong> {
    let mut parts = parts(path)?;
    if parts.iter().any(|part| is_mark(part)) {
        return Err(Wrong::Invalid("it links to a whiteout"));
    }
    let last = parts.pop().ok_or(Wrong::Invalid("it links to the root"))?;
    Ok(Name { parent: parts.join(&b'/'), last: last.to_vec() })
}

/// The parts, `..` taken as what it says of the name alone: that is how everybody who unpacks images takes it.
fn parts(path: &[u8]) -> Result<Vec<&[u8]>, Wrong> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or(Wrong::Refused("its name leads out of the root"))?;
            }
            _ if part.len() > LONGEST => return Err(Wrong::Invalid("its name is longer than 255 bytes")),
            _ if part.contains(&0) => return Err(Wrong::Invalid("its name has a NUL")),
            _ => parts.push(part),
        }
    }
    // What is longer could be made, part by part, and never be named again.
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    if length >= MOST { Err(Wrong::Invalid("its name is longer than 4095 bytes")) } else { Ok(parts) }
}

/// A name in a directory.
pub(in crate::layer) fn join(parent: &[u8], last: &[u8]) -> Vec<u8> {
    if parent.is_empty() { last.to_vec() } else { [parent, b"/", last].concat() }
}

/// The directory that has this; nothing for the root.
pub(in crate::layer) fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.get(..slash),
        None => (!path.is_empty()).then_some(&[]),
    }
}

/// The last part of a name.
pub(in crate::layer) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether no file can be called that, since it would be a mark.
pub(super) fn is_mark(name: &[u8]) -> bool {
    name.starts_with(MARK)
}

/// The name a whiteout has in a tar.
pub(super) fn mark(name: &[u8]) -> Vec<u8> {
    [MARK, name].concat()
}

/// The name of the mark of an opaque directory.
pub(super) fn opaque_mark() -> &'static [u8] {
    OPAQUE
}

/// Whether `path` is in the directory `dir`, at any depth.
pub(super) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(parent: &str, last: &str) -> Name {
        Name { parent: parent.into(), last: last.into() }
    }

    #[test]
    fn names_stay_below_the_root() {
        for root in ["", ".", "./", "/", "a/..", "//./"] {
            assert_eq!(asked(root.as_bytes()), Ok(Asked::Root), "{root}");
        }
        assert_eq!(asked(b"/etc/passwd"), Ok(Asked::File(name("etc", "passwd"))));
        assert_eq!(asked(b"./a/../b//c/"), Ok(Asked::File(name("b", "c"))));
        for out in ["..", "../a", "a/../../b", "/.."] {
            assert!(matches!(asked(out.as_bytes()), Err(Wrong::Refused(_))), "{out}");
        }
        assert!(matches!(asked(&[b'a'; 256]), Err(Wrong::Invalid(_))));
        assert!(asked(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn marks_are_told_from_files() {
        assert_eq!(asked(b"a/.wh.b"), Ok(Asked::Whiteout(name("a", "b"))));
        assert_eq!(asked(b"a/.wh..wh..opq"), Ok(Asked::Opaque(b"a".to_vec())));
        assert_eq!(asked(b".wh..wh..opq"), Ok(Asked::Opaque(Vec::new())));
        assert_eq!(asked(b".wh..b"), Ok(Asked::Whiteout(name("", ".b"))));
        for ignored in [".wh..wh.plnk", ".wh..wh.plnk/1.2", "a/.wh..wh.aufs"] {
            assert_eq!(asked(ignored.as_bytes()), Ok(Asked::Ignored), "{ignored}");
        }
        for refused in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b", "a/.wh../b"] {
            assert!(matches!(asked(refused.as_bytes()), Err(Wrong::Refused(_))), "{refused}");
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!((parent(b"a/b"), last(b"a/b")), (Some(&b"a"[..]), &b"b"[..]));
        assert_eq!((parent(b"a"), last(b"a")), (Some(&b""[..]), &b"a"[..]));
        assert_eq!(parent(b""), None);
        assert!(
            is_below(b"a/b", b"a") && is_below(b"a", b"") && !is_below(b"ab", b"a") && !is_below(b"a", b"a")
        );
    }
}
