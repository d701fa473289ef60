//! The regular expressions that patterns are turned into, with the meaning of Go's `regexp`.
//!
//! What a pattern can become is little: characters, classes, `[^/]*`, `.*`, `(.*/)?` and escapes. It matches from the
//! beginning to the end or not at all, in time proportional to the product of both lengths. Escapes that stand for
//! Unicode classes (`\p`) or quotes (`\Q`) are refused: nobody has seen one in a path.

use super::rune;

/// What no regular expression of Go's is, or what is not understood here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadRegex;

#[derive(Clone, Debug)]
struct Set {
    ranges: Vec<(u32, u32)>,
    is_negated: bool,
}

#[derive(Clone, Debug)]
enum Step {
    One(Set),
    /// Any number of them.
    Many(Set),
    /// `(.*/)?`.
    Deep,
    Start,
    End,
    /// Whether a word begins or ends here.
    Border(bool),
}

/// A regular expression.
#[derive(Clone, Debug)]
pub(super) struct Regex(Vec<Step>);

const DIGITS: &[(u32, u32)] = &[(0x30, 0x39)];
const SPACES: &[(u32, u32)] = &[(0x09, 0x0a), (0x0c, 0x0d), (0x20, 0x20)];
const WORDS: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
/// All but a newline, which `.` does not match.
const LINE: &[(u32, u32)] = &[(0, 9), (11, u32::MAX)];
const SLASH: u32 = 0x2f;
const NEWLINE: u32 = 0x0a;

impl Regex {
    pub(super) fn new(text: &str) -> Result<Self, BadRegex> {
        let mut steps = Vec::new();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            if let Some(behind) = rest.strip_prefix("(.*/)?") {
                steps.push(Step::Deep);
                rest = behind;
                continue;
            }
            rest = rest.get(char.len_utf8()..).unwrap_or_default();
            let set = match char {
                '^' => {
                    steps.push(Step::Start);
                    continue;
                }
                '$' => {
                    steps.push(Step::End);
                    continue;
                }
                '.' => Set { ranges: LINE.to_vec(), is_negated: false },
                '[' => class(&mut rest)?,
                '\\' => match escape(&mut rest)? {
                    Ok(set) => set,
                    Err(step) => {
                        steps.push(step);
                        continue;
                    }
                },
                char => one(char.into()),
            };
            let is_many = take(&mut rest, "*");
            steps.push(if is_many { Step::Many(set) } else { Step::One(set) });
        }
        Ok(Self(steps))
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let runes: Vec<u32> = rune::all(path).collect();
        // For each step: whether it can begin here, and, for `(.*/)?`, whether we are inside it.
        let mut here = vec![(false, false); self.0.len() + 1];
        if let Some(first) = here.first_mut() {
            first.0 = true;
        }
        let mut next = here.clone();
        for at in 0..=runes.len() {
            let (before, rune) = (at.checked_sub(1).and_then(|at| runes.get(at)), runes.get(at));
            next.fill((false, false));
            for (index, step) in self.0.iter().enumerate() {
                let (begins, inside) = here.get(index).copied().unwrap_or_default();
                if !begins && !inside {
                    continue;
                }
                let fits = |set: &Set| rune.is_some_and(|rune| set.has(*rune));
                let goes_on = match step {
                    Step::One(set) => {
                        mark(&mut next, index + 1, begins && fits(set));
                        false
                    }
                    Step::Many(set) => {
                        mark(&mut next, index, fits(set));
                        true
                    }
                    Step::Deep => {
                        if let Some(slot) = next.get_mut(index) {
                            slot.1 = rune.is_some_and(|rune| *rune != NEWLINE);
                        }
                        mark(&mut next, index + 1, rune == Some(&SLASH));
                        begins
                    }
                    Step::Start => before.is_none(),
                    Step::End => rune.is_none(),
                    Step::Border(is_border) => (is_word(before) != is_word(rune)) == *is_border,
                };
                mark(&mut here, index + 1, goes_on);
            }
            if rune.is_some() {
                std::mem::swap(&mut here, &mut next);
            }
        }
        here.last().is_some_and(|last| last.0)
    }
}

impl Set {
    fn has(&self, rune: u32) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&rune)) != self.is_negated
    }
}

fn mark(states: &mut [(bool, bool)], index: usize, is_reached: bool) {
    if let Some(state) = states.get_mut(index) {
        state.0 |= is_reached;
    }
}

fn is_word(rune: Option<&u32>) -> bool {
    rune.is_some_and(|rune| WORDS.iter().any(|(low, high)| (*low..=*high).contains(rune)))
}

fn one(rune: u32) -> Set {
    Set { ranges: vec![(rune, rune)], is_negated: false }
}

fn take(rest: &mut &str, prefix: &str) -> bool {
    let behind = rest.strip_prefix(prefix);
    *rest = behind.unwrap_or(rest);
    behind.is_some()
}

fn next(rest: &mut &str) -> Result<char, BadRegex> {
    let char = rest.chars().next().ok_or(BadRegex)?;
    *rest = rest.get(char.len_utf8()..).unwrap_or_default();
    Ok(char)
}

/// What a backslash begins, outside of a class: a set, or a step that takes no character.
fn escape(rest: &mut &str) -> Result<Result<Set, Step>, BadRegex> {
    for (letter, step) in
        [("A", Step::Start), ("z", Step::End), ("b", Step::Border(true)), ("B", Step::Border(false))]
    {
        if take(rest, letter) {
            return Ok(Err(step));
        }
    }
    if let Some(ranges) = letters(rest) {
        return Ok(Ok(Set { ranges, is_negated: false }));
    }
    Ok(Ok(one(escaped(rest)?)))
}

/// The ranges of `\d`, `\s`, `\w` and of their opposites.
fn letters(rest: &mut &str) -> Option<Vec<(u32, u32)>> {
    for (letter, opposite, ranges) in [("d", "D", DIGITS), ("s", "S", SPACES), ("w", "W", WORDS)] {
        if take(rest, letter) {
            return Some(ranges.to_vec());
        }
        if take(rest, opposite) {
            return Some(complement(ranges));
        }
    }
    None
}

/// Of ranges that are sorted and apart.
fn complement(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let mut from = 0;
    for (low, high) in ranges {
        if from < *low {
            found.push((from, low - 1));
        }
        from = high + 1;
    }
    found.push((from, u32::MAX));
    found
}

/// The one character that stands behind a backslash.
fn escaped(rest: &mut &str) -> Result<u32, BadRegex> {
    let char = next(rest)?;
    let octal = |rest: &str| rest.chars().next().and_then(|char| char.to_digit(8));
    Ok(match char {
        'a' => 7,
        'f' => 12,
        'n' => NEWLINE,
        'r' => 13,
        't' => 9,
        'v' => 11,
        'x' => {
            let (high, low) = (next(rest)?, next(rest)?);
            let digit = |char: char| char.to_digit(16).ok_or(BadRegex);
            digit(high)? * 16 + digit(low)?
        }
        // A single digit would be a reference to a group.
        '1'..='7' if octal(rest).is_none() => return Err(BadRegex),
        '0'..='7' => {
            let mut value = char.to_digit(8).ok_or(BadRegex)?;
            for _ in 0..2 {
                let Some(digit) = octal(rest) else { break };
                value = value * 8 + digit;
                next(rest)?;
            }
            value
        }
        char if char.is_ascii() && !char.is_ascii_alphanumeric() => char.into(),
        _ => return Err(BadRegex),
    })
}

/// A class, without its first bracket.
fn class(rest: &mut &str) -> Result<Set, BadRegex> {
    let is_negated = take(rest, "^");
    let mut ranges = Vec::new();
    let mut is_first = true;
    while is_first || !take(rest, "]") {
        is_first = false;
        if rest.starts_with("[:") && rest.contains(":]") {
            ranges.extend(named(rest)?);
        } else if let Some(more) = rest.strip_prefix('\\').and_then(|mut behind| {
            let ranges = letters(&mut behind)?;
            *rest = behind;
            Some(ranges)
        }) {
            ranges.extend(more);
        } else {
            let low = limit(rest)?;
            let has_high = rest.starts_with('-') && rest.len() >= 2 && !rest.starts_with("-]");
            let high = if has_high {
                take(rest, "-");
                limit(rest)?
            } else {
                low
            };
            if high < low {
                return Err(BadRegex);
            }
            ranges.push((low, high));
        }
    }
    Ok(Set { ranges, is_negated })
}

fn limit(rest: &mut &str) -> Result<u32, BadRegex> {
    if take(rest, "\\") { escaped(rest) } else { Ok(next(rest)?.into()) }
}

/// A class by its POSIX name.
fn named(rest: &mut &str) -> Result<Vec<(u32, u32)>, BadRegex> {
    let end = rest.find(":]").ok_or(BadRegex)?;
    let name = rest.get(2..end).ok_or(BadRegex)?;
    *rest = rest.get(end + 2..).unwrap_or_default();
    let (name, is_negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let ranges: &[(u32, u32)] = match name {
        "alnum" => &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)],
        "alpha" => &[(0x41, 0x5a), (0x61, 0x7a)],
        "ascii" => &[(0, 0x7f)],
        "blank" => &[(9, 9), (0x20, 0x20)],
        "cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        "digit" => DIGITS,
        "graph" => &[(0x21, 0x7e)],
        "lower" => &[(0x61, 0x7a)],
        "print" => &[(0x20, 0x7e)],
        "punct" => &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
        "space" => &[(9, 13), (0x20, 0x20)],
        "upper" => &[(0x41, 0x5a)],
        "word" => WORDS,
        "xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        _ => return Err(BadRegex),
    };
    Ok(if is_negated { complement(ranges) } else { ranges.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_what_go_matches() {
        for (regex, yes, no) in [
            ("^a[^/]*$", &["a", "abc", "a\n"][..], &["", "ba", "a/b"][..]),
            ("^a/(.*/)?b$", &["a/b", "a/x/b", "a/x/y/b", "a//b"], &["ab", "a/xb", "a/\nx/b", "a/b/"]),
            ("^(.*/)?[^/]*\\.txt$", &["x.txt", "a/b/.txt"], &["xtxt", "a/x.txt/"]),
            ("^d.*$", &["d", "d/a/b"], &["x", "d\n"]),
            ("^[a-c]\\d[[:upper:]][^\\w]$", &["b1X-", "c0A\u{e9}"], &["b1x-", "bxX-", "d1X-", "b1X_"]),
            ("^[]a]$", &["]", "a"], &["b"]),
            ("^[a-]\\x41\\101\\[$", &["-AA[", "aAA["], &["bAA["]),
            ("^a]b$", &["a]b"], &["ab"]),
            ("^a\\bb$", &[], &["ab", "a b"]),
            ("^a\\b b\\B\\z$", &[], &["a b"]),
            ("^a\\B\\Ab$", &[], &["ab"]),
            ("^a^b$", &[], &["ab", "a^b"]),
            // What becomes of `[*]`: a class of three, any number of which, then a bracket.
            ("^[[^/]*]$", &["]", "[/^]"], &["*", "a]"]),
            ("^[^/]x$", &["\u{e9}x"], &["/x", "ax\n"]),
        ] {
            let regex = Regex::new(regex).unwrap_or_else(|_| panic!("{regex}"));
            for path in yes {
                assert!(regex.matches(path.as_bytes()), "{regex:?} {path}");
            }
            for path in no {
                assert!(!regex.matches(path.as_bytes()), "{regex:?} {path}");
            }
        }
        assert!(Regex::new("^a[^/]b$").unwrap().matches(b"a\xffb"), "a byte that is no character");
        assert!(Regex::new("^a\\b-$").unwrap().matches(b"a-"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for regex in [
            "^[",
            "^[a",
            "^\\",
            "^\\1",
            "^\\8",
            "^\\pL",
            "^\\Qa",
            "^\\xg0",
            "^[b-a]",
            "^[[:no:]]",
            "^\\\u{e9}",
            "^\\C",
        ] {
            assert_eq!(Regex::new(regex).err(), Some(BadRegex), "{regex}");
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        let regex = Regex::new(&format!("^{}$", "[^/]*a(.*/)?".repeat(50))).unwrap();
        assert!(!regex.matches("ab".repeat(1000).as_bytes()));
    }
}
