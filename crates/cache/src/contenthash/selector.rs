//! What of a tree somebody reads.

use super::path::absolute;

/// One path of a tree, or some of what is at and below it. All paths are clean before they are looked at: slashes at the
/// end and `..` mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The path. Links on the way are always followed, never out of the tree.
    pub path: String,
    /// Whether what is at the end of the path is followed if it is a link. With wildcards: each link they find.
    pub follow: bool,
    /// Whether the path has wildcards (Go's `path.Match`).
    pub wildcard: bool,
    /// Of what is found, what is taken: patterns of moby's `patternmatcher`, relative to what was found. Empty for all.
    pub include: Vec<String>,
    /// What of that is left out, in the same way.
    pub exclude: Vec<String>,
    /// What must be among it; each is the beginning of a path, with the selector's or without.
    pub required: Vec<String>,
}

impl Selector {
    /// What is at a path, and all below it.
    #[must_use]
    pub fn path(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// The same, links followed at the end, too.
    #[must_use]
    pub fn followed(path: impl Into<String>) -> Self {
        Self { path: path.into(), follow: true, ..Self::default() }
    }

    /// What mounts of these paths read, in the order in which it counts: the whole tree if one of them is its root.
    #[must_use]
    pub fn of_mounts(paths: Vec<String>) -> Vec<Self> {
        let is_whole = paths.iter().any(|path| absolute(path.as_bytes()).is_empty());
        if is_whole { Vec::new() } else { dedupe(paths).into_iter().map(Self::followed).collect() }
    }

    /// What copies of these read, in the order in which it counts: plain paths each once, then those that are followed,
    /// then all others, sorted by path.
    #[must_use]
    pub fn of_copies(selectors: Vec<Self>) -> Vec<Self> {
        let (plain, others): (Vec<_>, Vec<_>) = selectors.into_iter().partition(Self::is_plain);
        let (followed, still): (Vec<_>, Vec<_>) = plain.into_iter().partition(|selector| selector.follow);
        let paths =
            |selectors: Vec<Self>| dedupe(selectors.into_iter().map(|selector| selector.path).collect());
        let still = paths(still).into_iter().map(Self::path);
        let mut all: Vec<_> =
            still.chain(paths(followed).into_iter().map(Self::followed)).chain(others).collect();
        all.sort_by(|one, other| one.path.cmp(&other.path));
        all
    }

    /// Whether it is a path and nothing else.
    fn is_plain(&self) -> bool {
        !self.selects() && self.required.is_empty()
    }

    /// Whether what is at and below the path is looked at one by one.
    pub(super) fn selects(&self) -> bool {
        self.wildcard || !self.include.is_empty() || !self.exclude.is_empty()
    }
}

/// Each path once, none that is below another one, sorted. It goes by the words alone; a single path stays as it is.
#[must_use]
pub fn dedupe(mut paths: Vec<String>) -> Vec<String> {
    paths.sort_unstable();
    paths.dedup();
    let kept = |path: &String| {
        // Every beginning of it that ends at a slash may be the name of another one, with that slash or without.
        !path.match_indices('/').any(|(at, _)| {
            let has = |end: usize| {
                let other = path.get(..end).unwrap_or_default();
                other != path && paths.binary_search_by(|path| path.as_str().cmp(other)).is_ok()
            };
            has(at) || has(at + 1)
        })
    };
    let kept: Vec<bool> = paths.iter().map(kept).collect();
    let mut kept = kept.into_iter();
    paths.retain(|_| kept.next().unwrap_or(true));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deduped(paths: &[&str]) -> Vec<String> {
        dedupe(paths.iter().map(|&path| path.to_owned()).collect())
    }

    #[test]
    fn paths_below_others_go() {
        assert_eq!(deduped(&["/b/c", "/a", "/b", "/a", "/ab", "/a/x/y"]), ["/a", "/ab", "/b"]);
        assert_eq!(deduped(&["/b", "/", "/a/b"]), ["/"]);
        assert_eq!(deduped(&["d/", "d", "d/x"]), ["d"], "words alone: d/ begins with d and a slash");
        assert_eq!(deduped(&["d/", "d/x", "/d"]), ["/d", "d/"]);
        assert_eq!(deduped(&["", "/", "a"]), ["", "a"]);
        assert_eq!(deduped(&["a//"]), ["a//"]);
        assert_eq!(deduped(&[]), [""; 0]);
    }

    #[test]
    fn lists_have_an_order_that_counts() {
        let mounts =
            |paths: &[&str]| Selector::of_mounts(paths.iter().map(|&path| path.to_owned()).collect());
        assert_eq!(mounts(&["/b", "/a", "/a/c"]), [Selector::followed("/a"), Selector::followed("/b")]);
        assert_eq!(mounts(&["/b", "/"]), []);
        let wild = Selector { path: "/d/*.txt".into(), wildcard: true, ..Selector::default() };
        let copies = vec![
            wild.clone(),
            Selector::followed("/lnk"),
            Selector::path("/lnk"),
            Selector::path("/d"),
            Selector::path("/d"),
            Selector::path("/d/x"),
        ];
        let ordered = [Selector::path("/d"), wild, Selector::path("/lnk"), Selector::followed("/lnk")];
        assert_eq!(Selector::of_copies(copies), ordered);
    }
}
