//! Paths of trees, as text: what Go's `path` package makes of them, since keys are made of that.

/// The shortest path that means the same, by its text alone: no `.`, no `//`, `..` only at the front of a relative one.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The clean path from the root of the tree.
#[must_use]
pub fn rooted(path: &str) -> String {
    clean(&format!("/{path}"))
}

/// Its last element without trailing slashes: `.` of nothing, `/` of slashes.
#[must_use]
pub fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// Whether it goes above the root on its way, wherever it ends.
#[must_use]
pub fn escapes(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                None => return true,
                Some(up) => depth = up,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        let cases = [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/./b/..", "a"),
            ("a/..", "."),
            ("/..//x", "/x"),
            ("../../x/../y", "../../y"),
            ("./..", ".."),
        ];
        for (given, wanted) in cases {
            assert_eq!(clean(given), wanted, "{given:?}");
        }
        assert_eq!(rooted(""), "/");
        assert_eq!(rooted("d/../../e/"), "/e");
    }

    #[test]
    fn last_elements() {
        for (given, wanted) in [("", "."), ("///", "/"), ("a", "a"), ("/a/b//", "b"), ("a/..", "..")] {
            assert_eq!(base(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn going_above_the_root() {
        for path in ["..", "/..", "a/../..", "/a/../../a", "./../x"] {
            assert!(escapes(path), "{path}");
        }
        for path in ["", "/", "a/..", "/a/b/../../c", "...", "a/..b"] {
            assert!(!escapes(path), "{path}");
        }
    }
}
