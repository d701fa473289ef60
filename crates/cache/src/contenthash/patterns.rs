//! Include and exclude patterns, with the meaning of moby's `patternmatcher`.
//!
//! Patterns are looked at in order, and the last one that has something to say is right: one with `!` takes back what
//! those before it matched. What a directory matches, all below it matches, too.

use super::glob::Glob;
use super::path::clean;
use super::regex::{BadRegex, Regex};

/// A list of patterns.
#[derive(Clone, Debug)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    takes_back: bool,
    test: Result<Test, BadRegex>,
}

/// How a pattern is matched.
#[derive(Clone, Debug)]
enum Test {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
}

/// Which patterns matched a path: what is known of a directory when its children are looked at. Without any, all
/// directories a path is in are tried by their names.
pub type Matched = Vec<bool>;

impl Patterns {
    /// Reads a list. Patterns are trimmed and made clean; those that are empty do not count.
    ///
    /// # Errors
    /// The first pattern that is not well formed.
    pub fn new(list: &[String]) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for given in list {
            let trimmed = given.trim();
            if trimmed.is_empty() {
                continue;
            }
            let text = clean(trimmed);
            let (text, takes_back) = match text.strip_prefix('!') {
                Some("") => return Err(given.clone()),
                Some(rest) => (rest.to_owned(), true),
                None => (text, false),
            };
            if Glob::new(text.as_bytes()).is_err() {
                return Err(given.clone());
            }
            let test = Test::new(&text);
            patterns.push(Pattern { text, takes_back, test });
        }
        Ok(Self(patterns))
    }

    /// Whether a path, relative and clean, matches, and which patterns did. `parent` is what this said of the directory it
    /// is in.
    ///
    /// # Errors
    /// A pattern that decides and makes no sense.
    pub fn matches(&self, path: &[u8], parent: &Matched) -> Result<(bool, Matched), String> {
        let mut is_matched = false;
        let mut found = vec![false; self.0.len()];
        for (index, (pattern, slot)) in self.0.iter().zip(&mut found).enumerate() {
            let mut is_match = parent.get(index).copied().unwrap_or_default();
            if !is_match {
                // It could change nothing.
                if pattern.takes_back != is_matched {
                    continue;
                }
                let test = pattern.test.as_ref().map_err(|_| pattern.text.clone())?;
                is_match = test.matches(path)
                    || parent.is_empty() && directories(path).any(|directory| test.matches(directory));
            }
            *slot = is_match;
            if is_match {
                is_matched = !pattern.takes_back;
            }
        }
        Ok((is_matched, found))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something below a directory may match though the directory does not, by the beginnings of the patterns:
    /// where this says no, nothing does.
    #[must_use]
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.0.iter().any(|pattern| !pattern.takes_back && pattern.may_be_below(directory))
    }

    /// Whether something below a directory may be taken back though the directory matches, likewise.
    #[must_use]
    pub fn may_take_back_below(&self, directory: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.takes_back && pattern.may_be_below(directory))
    }
}

impl Pattern {
    /// Whether it may match something below a directory.
    fn may_be_below(&self, directory: &[u8]) -> bool {
        // As far as it is plain words it must be the way to the directory, or lead through it.
        let end = self.text.find(['*', '?', '[', '\\']).unwrap_or(self.text.len());
        let plain = self.text.get(..end).unwrap_or_default().as_bytes();
        let whole = [directory, b"/"].concat();
        let shared = plain.len().min(whole.len());
        let is_word = end == self.text.len();
        plain.get(..shared) == whole.get(..shared) && (!is_word || plain.len() > whole.len())
            || is_word && (plain == directory || whole.starts_with(&[plain, b"/"].concat()))
    }
}

/// The directories a relative path is in, the outermost first.
fn directories(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| path.get(..at).unwrap_or_default())
}

impl Test {
    fn new(pattern: &str) -> Result<Self, BadRegex> {
        /// What it is as far as it has been read.
        #[derive(PartialEq)]
        enum Seen {
            Exact,
            Prefix,
            Suffix,
            Regex,
        }
        let (mut regex, mut seen) = ("^".to_owned(), Seen::Exact);
        let mut chars = pattern.chars().peekable();
        let mut is_first = true;
        while let Some(char) = chars.next() {
            match char {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_some() {
                        regex.push_str("(.*/)?");
                        seen = Seen::Regex;
                    } else if seen == Seen::Exact {
                        seen = Seen::Prefix;
                    } else {
                        regex.push_str(".*");
                        seen = Seen::Regex;
                    }
                    if is_first {
                        seen = Seen::Suffix;
                    }
                }
                '*' | '?' => {
                    regex.push_str(if char == '*' { "[^/]*" } else { "[^/]" });
                    seen = Seen::Regex;
                }
                '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => regex.extend(['\\', char]),
                '\\' => {
                    regex.push('\\');
                    if let Some(next) = chars.next() {
                        regex.push(next);
                        seen = Seen::Regex;
                    }
                }
                char => {
                    regex.push(char);
                    if matches!(char, '[' | ']') {
                        seen = Seen::Regex;
                    }
                }
            }
            is_first = false;
        }
        Ok(match seen {
            Seen::Exact => Self::Exact(pattern.to_owned()),
            Seen::Prefix => Self::Prefix(pattern.strip_suffix("**").unwrap_or(pattern).to_owned()),
            Seen::Suffix => Self::Suffix(pattern.strip_prefix("**").unwrap_or(pattern).to_owned()),
            Seen::Regex => Self::Regex(Regex::new(&format!("{regex}$"))?),
        })
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => path == text.as_bytes(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_bytes())
                    || suffix.strip_prefix('/').is_some_and(|name| path == name.as_bytes())
            }
            Self::Regex(regex) => regex.matches(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Patterns {
        Patterns::new(&list.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn matches(list: &[&str], path: &str) -> bool {
        patterns(list).matches(path.as_bytes(), &Matched::new()).unwrap().0
    }

    /// What moby's own tests say, and what its code does where these say nothing.
    #[test]
    fn matches_what_moby_matches() {
        for (pattern, path, is_match) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file/", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt.txt", true),
            ("a/**/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("a\\\\", "a\\", true),
            ("a\\b", "ab", false),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", true),
            ("*", "a/b/c", true),
            ("*.txt", "a/b.txt", false),
            (" d ", "d/x", true),
            ("./d/", "d", true),
            ("/d", "d", false),
            ("d**", "dx/y", true),
            ("\\d", "7", true),
        ] {
            assert_eq!(matches(&[pattern], path), is_match, "{pattern} {path}");
        }
        for (list, path, is_match) in [
            (&["**", "!util/docker/web"][..], "util/docker/web/foo", false),
            (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
            (&["**", "!dist/proxy.py"], "dist/proxy.py", false),
            (&["*", "!*.md"], "a/x.md", true),
            (&["a", "!a/b"], "a/b/c", false),
            (&["!a", "a"], "a", true),
            (&["", "  "], "a", false),
        ] {
            assert_eq!(matches(list, path), is_match, "{list:?} {path}");
        }
    }

    #[test]
    fn what_a_directory_matched_its_children_match() {
        let list = patterns(&["deep", "!deep/zz"]);
        let (is_match, deep) = list.matches(b"deep", &Matched::new()).unwrap();
        assert!(is_match);
        assert_eq!(deep, [true, false]);
        assert!(list.matches(b"deep/er", &deep).unwrap().0);
        let (is_match, zz) = list.matches(b"deep/zz", &deep).unwrap();
        assert!(!is_match);
        assert!(!list.matches(b"deep/zz/a", &zz).unwrap().0);
        let none = vec![false, false];
        assert!(!list.matches(b"deep/er", &none).unwrap().0, "what is known of the directory is right");
    }

    #[test]
    fn nothing_is_below_where_no_pattern_leads() {
        for (pattern, directory, may) in [
            ("a/b/c", "a", true),
            ("a/b/c", "a/b", true),
            ("a/b/c", "ab", false),
            ("a/b/c", "b", false),
            ("a", "a/b", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a*", "b", false),
            ("a*", "abc", true),
            ("a/x*/y", "a", true),
            ("a/x*/y", "a/xx", true),
            ("a/x*/y", "a/z", false),
            ("**/y", "anything", true),
            ("[ab]", "c", true),
        ] {
            let forth = patterns(&[pattern]);
            assert_eq!(forth.may_match_below(directory.as_bytes()), may, "{pattern} {directory}");
            assert!(!forth.may_take_back_below(directory.as_bytes()), "{pattern} takes nothing back");
            let back = patterns(&[&format!("!{pattern}")]);
            assert_eq!(back.may_take_back_below(directory.as_bytes()), may, "!{pattern} {directory}");
        }
    }

    #[test]
    fn a_list_must_be_well_formed() {
        for pattern in ["!", "a[", "!\\", "[]"] {
            assert_eq!(Patterns::new(&[pattern.to_owned()]).err().as_deref(), Some(pattern));
        }
        let list = patterns(&["x", "\\pL"]);
        assert_eq!(list.matches(b"y", &Matched::new()), Err("\\pL".to_owned()));
        assert!(list.matches(b"x", &Matched::new()).unwrap().0, "what does not decide is not looked at");
    }
}
