//! Wildcards in a path, with the meaning of Go's `path.Match`.
//!
//! `*` is any bytes but `/`, `?` one character but `/`, `[…]` one of a class (`^` negates it), `\` takes what follows as
//! it is. The whole path must match. Behind a star the first place that fits is taken and never another one, which can
//! be told from a full search only where a class matches `/`.

use super::rune;

/// A pattern that is not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern is not well formed")]
pub struct BadPattern;

#[derive(Clone, Debug)]
enum Token {
    Byte(u8),
    Any,
    Class { ranges: Vec<(u32, u32)>, is_negated: bool },
}

/// What is between two stars.
#[derive(Clone, Debug, Default)]
struct Chunk {
    after_star: bool,
    tokens: Vec<Token>,
}

/// A pattern.
#[derive(Clone, Debug)]
pub struct Glob(Vec<Chunk>);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        let mut chunks = vec![Chunk::default()];
        let mut rest = pattern;
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            if *byte == b'*' {
                let is_fresh = chunks.last().is_some_and(|chunk| chunk.tokens.is_empty());
                if is_fresh {
                    chunks.pop();
                }
                chunks.push(Chunk { after_star: true, tokens: Vec::new() });
                continue;
            }
            let token = match byte {
                b'?' => Token::Any,
                b'[' => class(&mut rest)?,
                b'\\' => {
                    let (byte, behind) = rest.split_first().ok_or(BadPattern)?;
                    rest = behind;
                    Token::Byte(*byte)
                }
                byte => Token::Byte(*byte),
            };
            if let Some(chunk) = chunks.last_mut() {
                chunk.tokens.push(token);
            }
        }
        Ok(Self(chunks))
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut rest = path;
        for (at, chunk) in self.0.iter().enumerate() {
            let is_last = at + 1 == self.0.len();
            if chunk.after_star && chunk.tokens.is_empty() {
                return !rest.contains(&b'/');
            }
            let longest =
                if chunk.after_star { rest.iter().take_while(|byte| **byte != b'/').count() } else { 0 };
            let fits = |skipped| chunk.strip(rest.get(skipped..)?).filter(|rest| !is_last || rest.is_empty());
            match (0..=longest).find_map(fits) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

impl Chunk {
    /// What is behind the part of `path` that this is.
    fn strip<'a>(&self, mut path: &'a [u8]) -> Option<&'a [u8]> {
        for token in &self.tokens {
            let length = match token {
                Token::Byte(byte) => (path.first() == Some(byte)).then_some(1)?,
                Token::Any => {
                    let (rune, length) = rune::first(path)?;
                    (rune != u32::from(b'/')).then_some(length)?
                }
                Token::Class { ranges, is_negated } => {
                    let (rune, length) = rune::first(path)?;
                    let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&rune));
                    (is_in != *is_negated).then_some(length)?
                }
            };
            path = path.get(length..)?;
        }
        Some(path)
    }
}

/// Takes a class, without its first bracket.
fn class(rest: &mut &[u8]) -> Result<Token, BadPattern> {
    let is_negated = skip(rest, b'^');
    let mut ranges = Vec::new();
    while ranges.is_empty() || !skip(rest, b']') {
        let low = limit(rest)?;
        let high = if skip(rest, b'-') { limit(rest)? } else { low };
        ranges.push((low, high));
    }
    Ok(Token::Class { ranges, is_negated })
}

/// Takes one character of a class. There is always more to come.
fn limit(rest: &mut &[u8]) -> Result<u32, BadPattern> {
    if matches!(rest.first(), Some(b'-' | b']')) {
        return Err(BadPattern);
    }
    skip(rest, b'\\');
    let (rune, length) = rune::first(rest).ok_or(BadPattern)?;
    *rest = rest.get(length..).unwrap_or_default();
    let is_no_rune = rune == 0xfffd && length == 1;
    if is_no_rune || rest.is_empty() { Err(BadPattern) } else { Ok(rune) }
}

fn skip(rest: &mut &[u8], byte: u8) -> bool {
    let behind = rest.strip_prefix(&[byte]);
    *rest = behind.unwrap_or(rest);
    behind.is_some()
}

/// Whether a part of a path has wildcards: what makes one is not behind a backslash.
#[must_use]
pub fn has_wildcards(part: &[u8]) -> bool {
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `path.Match` of Go says.
    #[test]
    fn matches_what_go_matches() {
        for (pattern, path, matches) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("a[^a][^a][^a]b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("[\\-x]", "a", false),
            ("*x", "xxx", true),
            ("**a", "ba", true),
            ("/*", "", false),
            ("", "", true),
            ("[^a]", "/", true),
            // The first place that fits is taken: here one before the slash, which the next star may not skip.
            ("*[a/]*b", "a/b", false),
        ] {
            assert_eq!(
                Glob::new(pattern.as_bytes()).unwrap().matches(path.as_bytes()),
                matches,
                "{pattern} {path}"
            );
        }
        assert!(Glob::new(b"a?b").unwrap().matches(b"a\xffb"));
    }

    #[test]
    fn a_pattern_must_be_well_formed() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "a*[", "[\\"]
        {
            assert_eq!(Glob::new(pattern.as_bytes()).err(), Some(BadPattern), "{pattern}");
        }
        assert!(has_wildcards(b"a\\bc*") && !has_wildcards(b"a\\*\\?\\[") && has_wildcards(b"["));
    }
}
