//! Paths and keys.
//!
//! A path is absolute and clean, the root being the empty one: `/etc/passwd`. A key is a path with NUL for `/`: keys in
//! the order of their bytes have a directory, then all that is below it, then its siblings, whatever bytes the names are
//! made of.

/// The longest path the kernel takes, with the NUL behind it (`PATH_MAX`).
const MOST: usize = 4096;

/// Makes a path absolute and clean, by its words alone: no `.`, no `..`, no empty part, no slash at the end.
pub(super) fn absolute(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = Vec::with_capacity(path.len() + 1);
    for part in parts {
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    clean
}

/// Makes a path clean that may be relative, as Go's `path.Clean` does: what is nothing is `.`, and a relative path keeps
/// the `..` it begins with.
pub(super) fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_rooted => {}
            part => parts.push(part),
        }
    }
    let clean = parts.join("/");
    match (is_rooted, clean.is_empty()) {
        (true, _) => format!("/{clean}"),
        (false, true) => ".".to_owned(),
        (false, false) => clean,
    }
}

/// The key of an absolute path.
pub(super) fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

/// The absolute path of a key.
pub(super) fn of_key(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
}

/// The key of the directory that has this; nothing for the root.
pub(super) fn parent(key: &[u8]) -> Option<&[u8]> {
    key.get(..key.iter().rposition(|byte| *byte == 0)?)
}

/// The key of `name` in a directory.
pub(super) fn child(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(dir.len() + 1 + name.len());
    key.extend_from_slice(dir);
    key.push(0);
    key.extend_from_slice(name);
    key
}

/// The first key behind all that is at or below this one.
pub(super) fn behind(key: &[u8]) -> Vec<u8> {
    let mut behind = key.to_vec();
    behind.push(1);
    behind
}

/// Whether `key` is below the directory `dir`, at any depth.
pub(super) fn is_below(key: &[u8], dir: &[u8]) -> bool {
    key.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&0))
}

/// Whether a file can be called so.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Whether a key is one of a path that the kernel would take.
pub(super) fn fits(key: &[u8]) -> bool {
    key.len() < MOST
}

/// The last part of a path, as Go's `path.Base` says it: of the root `/`, of nothing `.`.
pub(super) fn base(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    match path.get(..end).unwrap_or_default() {
        b"" if path.is_empty() => b".",
        b"" => b"/",
        path => path.rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_clean() {
        for (given, made) in
            [("", ""), ("/", ""), ("a", "/a"), ("/a//b/./c/", "/a/b/c"), ("../../a", "/a"), ("/a/../..", "")]
        {
            assert_eq!(absolute(given.as_bytes()), made.as_bytes(), "{given}");
        }
        for (given, made) in [
            ("", "."),
            ("/", "/"),
            ("a//b/", "a/b"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("!/../a", "a"),
            ("a/..", "."),
            ("**/", "**"),
        ] {
            assert_eq!(clean(given), made, "{given}");
        }
        for (path, last) in [("", "."), ("/", "/"), ("/a/b", "b"), ("/a/b/", "b"), ("a", "a")] {
            assert_eq!(base(path.as_bytes()), last.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_is_in_a_directory_follows_it() {
        let mut keys: Vec<_> = ["/a b", "/a/z", "/a", "/a-b", "/a.b", "/a/b/c", "/a\u{1}", "/a/b"]
            .map(|path| key(path.as_bytes()))
            .into();
        keys.sort();
        let sorted: Vec<_> = keys.iter().map(|key| String::from_utf8(of_key(key)).unwrap()).collect();
        assert_eq!(sorted, ["/a", "/a/b", "/a/b/c", "/a/z", "/a\u{1}", "/a b", "/a-b", "/a.b"]);
        let behind = behind(b"\0a");
        assert_eq!(keys.iter().filter(|key| **key < behind).count(), 4);
        assert!(is_below(b"\0a\0b", b"\0a") && is_below(b"\0a", b"") && !is_below(b"\0ab", b"\0a"));
        assert_eq!(
            (parent(b"\0a\0b"), parent(b"\0a"), parent(b"")),
            (Some(&b"\0a"[..]), Some(&b""[..]), None)
        );
    }
}
