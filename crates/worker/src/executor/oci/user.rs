//! Who a command runs as: `USER[:GROUP]`, as the root's `/etc/passwd` and `/etc/group` know them.
//!
//! A number is one, even if a user is called so. One that is not in `/etc/passwd` will do, a name will not. Who names no
//! group is in the user's, and in all that list the user.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _};

use serde::Serialize;

use super::root::Root;

/// So many bytes of a file are looked at: no list of users is longer.
const LONGEST: u64 = 16 << 20;
/// Numbers are below this: some programs take larger ones for negative.
const LARGEST: u32 = i32::MAX as u32;

/// Numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Its group as well: a process that changes its group is still in it.
    pub(super) additional_gids: Vec<u32>,
}

/// Why there is no such user.
#[derive(Debug)]
pub(super) enum Unknown {
    User(String),
    Group(String),
    Number(String),
    Io(&'static str, io::Error),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "no user {name:?} in /etc/passwd of the root"),
            Self::Group(name) => write!(f, "no group {name:?} in /etc/group of the root"),
            Self::Number(number) => write!(f, "no user or group has number {number}"),
            Self::Io(path, error) => write!(f, "{path} of the root: {error}"),
        }
    }
}

/// Looks `USER[:GROUP]` up.
pub(super) fn find(root: &Root, wanted: &str) -> Result<User, Unknown> {
    let (user, group) = wanted.split_once(':').unwrap_or((wanted, ""));
    let user = if user.is_empty() { "0" } else { user };
    let (uid, gid) = (number(user)?, number(group)?);
    if let (Some(uid), Some(gid)) = (uid, gid) {
        return Ok(of(uid, gid, []));
    }
    let entry = passwd(root, |fields| uid.map_or(fields[0] == user, |uid| fields[2].parse() == Ok(uid)))?;
    let (uid, own, name) = match (entry, uid) {
        (Some((name, uid, gid)), _) => (uid, gid, Some(name)),
        (None, Some(uid)) => (uid, 0, None),
        (None, None) => return Err(Unknown::User(user.to_owned())),
    };
    if group.is_empty() {
        let listed =
            name.map_or_else(|| Ok(Vec::new()), |name| groups(root, |fields| lists(fields[3], &name)))?;
        return Ok(of(uid, own, listed));
    }
    let known = groups(root, |fields| gid.map_or(fields[0] == group, |gid| fields[2].parse() == Ok(gid)))?;
    match known.first().copied().or(gid) {
        Some(gid) => Ok(of(uid, gid, [])),
        None => Err(Unknown::Group(group.to_owned())),
    }
}

fn of(uid: u32, gid: u32, others: impl IntoIterator<Item = u32>) -> User {
    let mut additional_gids = vec![gid];
    for other in others {
        if !additional_gids.contains(&other) {
            additional_gids.push(other);
        }
    }
    User { uid, gid, additional_gids }
}

/// The number that a word is, if it is one.
fn number(word: &str) -> Result<Option<u32>, Unknown> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse() {
        Ok(number) if number <= LARGEST => Ok(Some(number)),
        _ => Err(Unknown::Number(word.to_owned())),
    }
}

fn lists(members: &str, name: &str) -> bool {
    members.split(',').any(|member| member.trim() == name)
}

/// The name, number and group of the first user that is meant.
fn passwd(root: &Root, is_meant: impl Fn(&[&str]) -> bool) -> Result<Option<(String, u32, u32)>, Unknown> {
    let mut found = None;
    lines(root, "/etc/passwd", |fields| {
        if found.is_none()
            && is_meant(fields)
            && let (Ok(uid), Ok(gid)) = (fields[2].parse(), fields[3].parse())
        {
            found = Some((fields[0].to_owned(), uid, gid));
        }
    })?;
    Ok(found)
}

/// The numbers of all groups that are meant.
fn groups(root: &Root, is_meant: impl Fn(&[&str]) -> bool) -> Result<Vec<u32>, Unknown> {
    let mut found = Vec::new();
    lines(root, "/etc/group", |fields| {
        if is_meant(fields) {
            found.extend(fields[2].parse::<u32>());
        }
    })?;
    Ok(found)
}

/// Calls `each` with the fields of each line that has four of them at least. A file that is not there has no lines.
fn lines(root: &Root, path: &'static str, mut each: impl FnMut(&[&str])) -> Result<(), Unknown> {
    let unread = |error| Unknown::Io(path, error);
    let Some(file) = root.read(path).map_err(unread)? else { return Ok(()) };
    for line in BufReader::new(file.take(LONGEST)).split(b'\n') {
        let line = line.map_err(unread)?;
        let line = String::from_utf8_lossy(&line);
        let fields: Vec<&str> = line.trim().split(':').collect();
        if fields.len() >= 4 && !fields[0].starts_with('#') {
            each(&fields);
        }
    }
    Ok(())
}
