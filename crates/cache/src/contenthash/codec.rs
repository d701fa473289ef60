//! A table as bytes.
//!
//! ```text
//! magic "lbch"  version 1  root  is told
//! for each path in order:  length shared with the path before  length of the rest  rest  tag
//!                          [length target]  [sum]  [header sum]
//! end: a rest of no length, sharing nothing, and tag 255
//! sha256 of all that
//! ```
//! Lengths are LEB128. A wrong digest would be taken for another tree's, so nothing is believed whose sum is wrong.

use std::collections::BTreeMap;

use super::path::{fits, is_name, parent};
use super::sum::Sum;
use super::table::{Known, Root, Table};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"lbch";
const VERSION: u8 = 1;
const SUM: usize = 32;
/// What all paths of a table may take together, or this many times what they are written in: with shared beginnings, few
/// bytes can say much.
const MOST: usize = 64 << 20;
const TIMES: usize = 64;

const FILE: u8 = 0;
const SYMLINK: u8 = 1;
const DIRECTORY: u8 = 2;
const HAS_SUM: u8 = 4;
const HAS_HEADER: u8 = 8;
const IS_LISTED: u8 = 16;
const END: u8 = 255;

impl Table {
    /// As bytes that this version and later ones read. Hard links that still wait for what they link to are forgotten:
    /// these files will be read.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [MAGIC, &[VERSION, root_byte(self.root), u8::from(self.is_told())]].concat();
        let mut before: &[u8] = &[];
        for (key, known) in &self.known {
            let shared = key.iter().zip(before).take_while(|(one, other)| one == other).count();
            put(&mut out, shared);
            put_bytes(&mut out, key.get(shared..).unwrap_or_default());
            before = key;
            let (kind, sum, header) = match known {
                Known::File { sum } => (FILE, sum, &None),
                Known::Symlink { sum, .. } => (SYMLINK, sum, &None),
                Known::Directory { tree, header, is_listed } => {
                    (DIRECTORY | if *is_listed { IS_LISTED } else { 0 }, tree, header)
                }
            };
            let has = |sum: &Option<Sum>, bit| if sum.is_some() { bit } else { 0 };
            out.push(kind | has(sum, HAS_SUM) | has(header, HAS_HEADER));
            if let Known::Symlink { target, .. } = known {
                put_bytes(&mut out, target);
            }
            for sum in [sum, header].into_iter().flatten() {
                out.extend_from_slice(sum.bytes());
            }
        }
        out.extend([0, 0, END]);
        let sum = Sum::of(&out);
        out.extend_from_slice(sum.bytes());
        out
    }

    /// From bytes that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`Error::Invalid`] for all others, those of a later version among them: then the tree is to be read anew.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        decode(bytes).map_err(|reason| Error::invalid("read", "a table of digests", reason))
    }
}

fn decode(bytes: &[u8]) -> Result<Table, &'static str> {
    let (bytes, sum) = bytes.split_last_chunk::<SUM>().ok_or("it is too short")?;
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("it is something else")?;
    if byte(&mut rest)? != VERSION {
        return Err("it is of another version");
    }
    if Sum::of(bytes) != Sum::new(*sum) {
        return Err("it is damaged");
    }
    let root = root_of(byte(&mut rest)?)?;
    let is_told = byte(&mut rest)? == 1;
    let mut known = BTreeMap::new();
    let (mut before, mut total) = (Vec::new(), 0_usize);
    let most = MOST.max(bytes.len().saturating_mul(TIMES));
    loop {
        let shared = get(&mut rest)?;
        let part = get_bytes(&mut rest)?;
        let tag = byte(&mut rest)?;
        if tag == END {
            break;
        }
        let mut key: Vec<u8> = before.get(..shared).ok_or("a path shares more than there is")?.to_vec();
        key.extend_from_slice(part);
        total += key.len();
        if total > most {
            return Err("its paths are too long");
        }
        check(&key, &before, &known)?;
        let value = entry(&mut rest, tag)?;
        if key.is_empty() && !value.is_directory() {
            return Err("its root is no directory");
        }
        known.insert(key.clone(), value);
        before = key;
    }
    if !rest.is_empty() || known.is_empty() {
        return Err("it has no end, or more behind it");
    }
    Ok(Table::restored(root, is_told, known))
}

/// Checks that a key comes behind the one before it and is of something in a directory.
fn check(key: &[u8], before: &[u8], known: &BTreeMap<Vec<u8>, Known>) -> Result<(), &'static str> {
    let Some(directory) = parent(key) else {
        return if key.is_empty() && known.is_empty() { Ok(()) } else { Err("it has two roots or none") };
    };
    let name = key.get(directory.len() + 1..).unwrap_or_default();
    if key <= before || !fits(key) || !is_name(name) {
        return Err("a path is out of order, too long, or none");
    }
    if known.get(directory).is_some_and(Known::is_directory) {
        Ok(())
    } else {
        Err("a path is in no directory")
    }
}

fn entry(rest: &mut &[u8], tag: u8) -> Result<Known, &'static str> {
    let kind = tag & 3;
    let may = match kind {
        DIRECTORY => HAS_SUM | HAS_HEADER | IS_LISTED,
        FILE | SYMLINK => HAS_SUM,
        _ => return Err("it has a file of no kind"),
    };
    if tag & !(3 | may) != 0 {
        return Err("a file has what it cannot have");
    }
    let target = if kind == SYMLINK { get_bytes(rest)?.to_vec() } else { Vec::new() };
    let mut sum_if = |bit| if tag & bit != 0 { sum(rest).map(Some) } else { Ok(None) };
    let (sum, header) = (sum_if(HAS_SUM)?, sum_if(HAS_HEADER)?);
    Ok(match kind {
        DIRECTORY => Known::Directory { header, tree: sum, is_listed: tag & IS_LISTED != 0 },
        SYMLINK => Known::Symlink { target, sum },
        _ => Known::File { sum },
    })
}

fn root_byte(root: Root) -> u8 {
    match root {
        Root::Snapshot => 0,
        Root::Local => 1,
        Root::AsFound => 2,
    }
}

fn root_of(byte: u8) -> Result<Root, &'static str> {
    match byte {
        0 => Ok(Root::Snapshot),
        1 => Ok(Root::Local),
        2 => Ok(Root::AsFound),
        _ => Err("it has a root of no kind"),
    }
}

fn put(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn byte(rest: &mut &[u8]) -> Result<u8, &'static str> {
    let (first, behind) = rest.split_first().ok_or("it ends too early")?;
    *rest = behind;
    Ok(*first)
}

fn get(rest: &mut &[u8]) -> Result<usize, &'static str> {
    let mut number = 0;
    // No length needs more: what is longer than this is not here.
    for shift in [0, 7, 14, 21] {
        let byte = byte(rest)?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a length is too long")
}

fn get_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let length = get(rest)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or("it ends too early")?;
    *rest = behind;
    Ok(bytes)
}

fn sum(rest: &mut &[u8]) -> Result<Sum, &'static str> {
    let (bytes, behind) = rest.split_first_chunk::<SUM>().ok_or("it ends too early")?;
    *rest = behind;
    Ok(Sum::new(*bytes))
}
