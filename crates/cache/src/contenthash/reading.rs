//! A table together with the source of what it does not know.

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::header::{FileHasher, Kind, Meta};
use super::path::{absolute, child, fits, is_name, key, of_key, parent};
use super::source::Source;
use super::sum::Sum;
use super::table::{Known, OPERATION, Root, Table};
use crate::error::{Error, Result, What};

/// How many links a path may lead through (BuildKit's number).
const MOST_LINKS: usize = 255;

pub(super) struct Reading<'a> {
    pub(super) table: &'a mut Table,
    pub(super) source: &'a mut dyn Source,
    pub(super) cancel: &'a CancellationToken,
}

impl Reading<'_> {
    /// Where a path leads, links on the way followed, and the one at its end as asked. Nothing of the tree's outside is
    /// ever looked at: `..` of the root is the root, and an absolute link begins there. What is not there leads where its
    /// words say.
    pub(super) fn resolve(&mut self, key: &[u8], follow: bool) -> Result<Vec<u8>> {
        if self.table.known.get(key).is_some_and(|known| !follow || !matches!(known, Known::Symlink { .. })) {
            return Ok(key.to_vec());
        }
        let mut at = Vec::new();
        let mut waiting: Vec<Vec<u8>> = parts(&of_key(key));
        let mut links = 0;
        while let Some(part) = waiting.pop() {
            if part == b".." {
                at.truncate(parent(&at).unwrap_or_default().len());
                continue;
            }
            let next = child(&at, &part);
            let target = match self.look(&next)? {
                Some(Known::Symlink { target, .. }) if follow || !waiting.is_empty() => target.clone(),
                _ => {
                    at = next;
                    continue;
                }
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::invalid(
                    OPERATION,
                    shown(key),
                    "the links on its way lead round and round",
                ));
            }
            if target.contains(&0) {
                return Err(Error::invalid(OPERATION, shown(key), "a link on its way has a NUL"));
            }
            if target.starts_with(b"/") {
                at.clear();
            }
            waiting.append(&mut parts(&target));
        }
        Ok(at)
    }

    /// What is at a key, if anything is. The directory it is in has been looked at before.
    pub(super) fn look(&mut self, key: &[u8]) -> Result<Option<&Known>> {
        if !self.table.known.contains_key(key) {
            let Some(Known::Directory { is_listed: false, .. }) =
                parent(key).and_then(|parent| self.table.known.get(parent))
            else {
                return Ok(None);
            };
            if !fits(key) {
                return Ok(None);
            }
            self.go_on()?;
            match self.source.node(&relative(key))? {
                Some(node) => self.table.learn(key.to_vec(), node),
                None => return Ok(None),
            }
        }
        Ok(self.table.known.get(key))
    }

    /// Whether something is at a path, which may be a link at its end.
    pub(super) fn has(&mut self, path: &str) -> Result<bool> {
        let key = self.resolve(&key(&absolute(path.as_bytes())), false)?;
        Ok(self.look(&key)?.is_some())
    }

    /// Learns all names at and below a key.
    pub(super) fn list_all(&mut self, key: &[u8]) -> Result<()> {
        let mut waiting = vec![key.to_vec()];
        while let Some(directory) = waiting.pop() {
            self.list(&directory)?;
            let mut last: Option<Vec<u8>> = None;
            while let Some((key, known)) = self.table.child_behind(&directory, last.as_deref()) {
                if known.is_directory() {
                    waiting.push(key.to_vec());
                }
                last = Some(key.to_vec());
            }
        }
        Ok(())
    }

    /// Learns what is directly in a directory, if it is one.
    fn list(&mut self, key: &[u8]) -> Result<()> {
        let Some(Known::Directory { is_listed: false, .. }) = self.table.known.get(key) else {
            return Ok(());
        };
        self.go_on()?;
        for (name, node) in self.source.list(&relative(key))? {
            let key = child(key, &name);
            if !is_name(&name) || !fits(&key) {
                return Err(Error::invalid(
                    OPERATION,
                    shown(&key),
                    "its name is none, or longer than 4095 bytes",
                ));
            }
            self.table.learn(key, node);
        }
        if let Some(Known::Directory { is_listed, .. }) = self.table.known.get_mut(key) {
            *is_listed = true;
        }
        Ok(())
    }

    /// The digest of what is at a key, links not followed: of a directory with all below it.
    pub(super) fn sum(&mut self, key: &[u8]) -> Result<Sum> {
        match self.table.known.get(key) {
            None => Err(missing(key)),
            Some(known) => match (known.sum(), known.is_directory()) {
                (Some(sum), _) => Ok(sum),
                (None, true) => self.tree(key),
                (None, false) => self.file(key),
            },
        }
    }

    /// The digest of a directory itself.
    pub(super) fn header(&mut self, key: &[u8]) -> Result<Sum> {
        if let Some(Known::Directory { header: Some(sum), .. }) = self.table.known.get(key) {
            return Ok(*sum);
        }
        let sum = match self.table.root {
            Root::Snapshot if key.is_empty() => FileHasher::new(&Meta::new(Kind::Directory, 0o755)).finish(),
            Root::Local if key.is_empty() => Sum::of(b""),
            _ => {
                self.go_on()?;
                let meta = self.source.meta(&relative(key))?;
                if meta.kind != Kind::Directory {
                    return Err(changed(key));
                }
                FileHasher::new(&meta).finish()
            }
        };
        if let Some(Known::Directory { header, .. }) = self.table.known.get_mut(key) {
            *header = Some(sum);
        }
        Ok(sum)
    }

    /// The digest of a directory and of all below it.
    fn tree(&mut self, key: &[u8]) -> Result<Sum> {
        /// A directory whose children are being hashed.
        struct Open {
            key: Vec<u8>,
            hasher: Sha256,
            last: Option<Vec<u8>>,
        }
        let open = |reading: &mut Self, key: &[u8]| {
            reading.list(key)?;
            let mut hasher = Sha256::new_with_prefix([0]);
            hasher.update(reading.header(key)?.text());
            Ok::<_, Error>(Open { key: key.to_vec(), hasher, last: None })
        };
        let mut opened = vec![open(self, key)?];
        while let Some(directory) = opened.last_mut() {
            let next = self.table.child_behind(&directory.key, directory.last.as_deref());
            let (child, sum) =
                match next.map(|(key, known)| (key.to_vec(), known.sum(), known.is_directory())) {
                    Some((child, Some(sum), _)) => (child, sum),
                    Some((child, None, true)) => {
                        let child = open(self, &child)?;
                        opened.push(child);
                        continue;
                    }
                    Some((child, None, false)) => {
                        let sum = self.file(&child)?;
                        (child, sum)
                    }
                    None => {
                        let Some(done) = opened.pop() else { break };
                        let sum = Sum::finish(done.hasher);
                        self.table.note(&done.key, sum);
                        // What is noted is found again as the next child of the directory it is in.
                        if opened.is_empty() {
                            return Ok(sum);
                        }
                        continue;
                    }
                };
            directory.hasher.update(child.get(directory.key.len()..).unwrap_or_default());
            directory.hasher.update(sum.text());
            directory.last = Some(child);
        }
        Err(missing(key))
    }

    /// The digest of what is not a directory.
    fn file(&mut self, key: &[u8]) -> Result<Sum> {
        self.go_on()?;
        let path = relative(key);
        let meta = self.source.meta(&path)?;
        let fits = match self.table.known.get(key) {
            Some(Known::Symlink { target, .. }) => meta.kind == Kind::Symlink && meta.target == *target,
            _ => !matches!(meta.kind, Kind::Symlink | Kind::Directory),
        };
        if !fits {
            return Err(changed(key));
        }
        let mut hasher = FileHasher::new(&meta);
        let mut left = meta.content();
        if left > 0 {
            let cancel = self.cancel;
            self.source.read(&path, &mut |piece| {
                go_on(cancel)?;
                left = left.checked_sub(piece.len() as u64).ok_or_else(|| changed(key))?;
                hasher.update(piece);
                Ok(())
            })?;
        }
        if left > 0 {
            return Err(changed(key));
        }
        let sum = hasher.finish();
        self.table.note(key, sum);
        Ok(sum)
    }

    pub(super) fn go_on(&self) -> Result<()> {
        go_on(self.cancel)
    }
}

fn go_on(cancel: &CancellationToken) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::Cancelled { what: What::new(OPERATION, "its files") });
    }
    Ok(())
}

/// The parts of a path, the last first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// The path a source knows it by.
fn relative(key: &[u8]) -> Vec<u8> {
    let mut path = of_key(key);
    if !path.is_empty() {
        path.remove(0);
    }
    path
}

fn shown(key: &[u8]) -> String {
    if key.is_empty() { "/".to_owned() } else { of_key(key).escape_ascii().to_string() }
}

pub(super) fn missing(key: &[u8]) -> Error {
    Error::not_found(OPERATION, shown(key), "")
}

fn changed(key: &[u8]) -> Error {
    Error::invalid(OPERATION, shown(key), "it changed while it was read")
}
