//! Changes of permission bits, as `chmod` takes them.

/// The permission bits of users, groups and others.
const EACH: [(u8, u32); 3] = [(b'u', 6), (b'g', 3), (b'o', 0)];
const EXECUTE: u32 = 0o111;
const STICKY: u32 = 0o1000;

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// To these.
    To(u32),
    /// One after the other.
    Steps(Vec<Step>),
}

/// Something that is done to some of the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Those that it may change.
    who: u32,
    op: Op,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// These; and execution where the file is a directory or somebody may execute it.
    Bits { bits: u32, searches: bool },
    /// Those of users, groups or others, shifted by so much.
    As(u32),
}

impl Change {
    /// Reads octal digits or clauses: `u+x,go-w`, `a=rX`. Without who it is for, a clause is for all, whatever the umask.
    /// Nothing where it is neither.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|char: char| char.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok()?;
            return (mode <= 0o7777).then_some(Self::To(mode));
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            parse(clause.as_bytes(), &mut steps)?;
        }
        Some(Self::Steps(steps))
    }

    /// What a mode becomes.
    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let steps = match self {
            Self::To(mode) => return *mode,
            Self::Steps(steps) => steps,
        };
        let executes = is_dir || mode & EXECUTE != 0;
        steps.iter().fold(mode, |mode, step| step.apply(mode, executes))
    }
}

/// Takes one clause.
fn parse(clause: &[u8], steps: &mut Vec<Step>) -> Option<()> {
    let end = clause.iter().position(|byte| !b"ugoa".contains(byte))?;
    let (whose, mut rest) = clause.split_at(end);
    let who = whose.iter().fold(0, |who, byte| {
        who | match byte {
            b'u' => 0o4700,
            b'g' => 0o2070,
            b'o' => 0o0007,
            _ => 0o6777,
        }
    });
    // What only others have has no bits of that kind.
    let has_special = who != 0o0007;
    let who = if who == 0 { 0o6777 } else { who };
    while let Some((op, behind)) = rest.split_first() {
        let op = match op {
            b'+' => Op::Add,
            b'-' => Op::Remove,
            b'=' => Op::Set,
            _ => return None,
        };
        let end = behind.iter().position(|byte| b"+-=".contains(byte)).unwrap_or(behind.len());
        let (perms, next) = behind.split_at(end);
        rest = next;
        let (mut bits, mut searches, mut sticky) = (0, false, 0);
        let mut copies = Vec::new();
        for perm in perms {
            match perm {
                b'r' => bits |= 0o444,
                b'w' => bits |= 0o222,
                b'x' => bits |= EXECUTE,
                b'X' => searches = true,
                b's' if has_special => bits |= 0o6000,
                b't' if has_special => sticky = STICKY,
                b's' | b't' => {}
                from => copies.push(What::As(EACH.iter().find(|(who, _)| who == from)?.1)),
            }
        }
        let bits = What::Bits { bits: bits | sticky, searches };
        steps.push(Step { who: who | sticky, op, what: bits });
        // They add to what was just set.
        let op = if op == Op::Set { Op::Add } else { op };
        steps.extend(copies.into_iter().map(|what| Step { who, op, what }));
    }
    Some(())
}

impl Step {
    fn apply(&self, mode: u32, executes: bool) -> u32 {
        let bits = match self.what {
            What::Bits { bits, searches } => bits | if searches && executes { EXECUTE } else { 0 },
            What::As(shift) => ((mode >> shift) & 0o7) * 0o111,
        };
        let bits = bits & self.who;
        match self.op {
            Op::Add => mode | bits,
            Op::Remove => mode & !bits,
            Op::Set => (mode & !self.who) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, mode: u32, is_dir: bool) -> u32 {
        Change::parse(text).unwrap().apply(mode, is_dir)
    }

    #[test]
    fn modes_change_as_by_chmod() {
        for (text, mode, is_dir, wanted) in [
            ("644", 0o777, false, 0o644),
            ("0755", 0o600, true, 0o755),
            ("4711", 0o600, false, 0o4711),
            ("u+x", 0o644, false, 0o744),
            ("u+x,go-w", 0o666, false, 0o744),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o600, true, 0o711),
            ("+x", 0o644, false, 0o755),
            ("-w", 0o666, false, 0o444),
            ("=r", 0o777, false, 0o444),
            ("go=", 0o777, false, 0o700),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o640, false, 0o644),
            ("u=rwX,go=rX", 0o711, false, 0o755),
            ("go=u-w", 0o755, false, 0o755),
            ("g=u", 0o741, false, 0o771),
            ("o+g", 0o750, false, 0o755),
            ("u-g", 0o750, false, 0o250),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+s", 0o755, false, 0o6755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o777, true, 0o1777),
            ("a+t", 0o777, true, 0o1777),
            ("o+t", 0o777, true, 0o777),
            ("u=rw", 0o4755, false, 0o655),
            ("a=rwx", 0o7000, false, 0o1777),
            ("u+r-w+x", 0o200, false, 0o500),
            ("ug+rw", 0o004, false, 0o664),
            ("u=,u+r", 0o777, false, 0o477),
            ("u+", 0o751, false, 0o751),
        ] {
            assert_eq!(
                changed(text, mode, is_dir),
                wanted,
                "{text} of {mode:o}: {:o}",
                changed(text, mode, is_dir)
            );
        }
        for bad in ["", "u", "x", "8", "0o7", "77777", "u+q", "u+x,", ",u+x", "u x", "+x;rm"] {
            assert_eq!(Change::parse(bad), None, "{bad}");
        }
    }
}
