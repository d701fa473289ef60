//! The walk through a directory, and what is written on the way.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::Diffed;
use super::content::{self, Failure};
use super::links::Links;
use super::listing::{self, Listing};
use super::node::{Node, Xattrs};
use crate::error::{Error, Result, What};
use crate::layer::Form;
use crate::layer::write_tar::{Entry, TarWriter};

/// What a directory is compared with.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// It is a whole tree.
    Whole { lower: Option<&'a Path> },
    /// It is one layer's, and says itself what is gone.
    Layer(Form),
}

pub(super) struct Differ<'a, W> {
    upper: &'a Path,
    source: Source<'a>,
    out: TarWriter<W>,
    cancel: &'a CancellationToken,
    links: Links,
    done: Diffed,
}

/// A name that is to be looked at.
struct Step {
    /// Relative to the root.
    name: PathBuf,
    /// Whether its directory is one below, too.
    below: bool,
}

const OPERATION: &str = "make layer of";

impl<'a, W: Write> Differ<'a, W> {
    pub(super) fn new(upper: &'a Path, source: Source<'a>, out: W, cancel: &'a CancellationToken) -> Self {
        let (out, links, done) = (TarWriter::new(out), Links::default(), Diffed::default());
        Self { upper, source, out, cancel, links, done }
    }

    pub(super) fn run(mut self) -> Result<Diffed> {
        self.find_links()?;
        let below = matches!(self.source, Source::Whole { lower: Some(_) });
        let mut steps = vec![Step { name: PathBuf::new(), below }];
        while let Some(step) = steps.pop() {
            self.stop_if_cancelled()?;
            self.visit(&step, &mut steps)?;
        }
        self.done.size = self.out.finish().map_err(|error| output(self.upper, self.cancel, error))?;
        Ok(self.done)
    }

    /// Finds the files of several names before the first of these is written.
    fn find_links(&mut self) -> Result<()> {
        let mut steps = vec![PathBuf::new()];
        while let Some(name) = steps.pop() {
            self.stop_if_cancelled()?;
            let path = within(self.upper, &name);
            let Some(node) = self.read(&path)? else { continue };
            if node.is_dir() {
                let listing = match self.source {
                    Source::Whole { .. } => Listing::plain(&path),
                    Source::Layer(form) => Listing::of_layer(&path, form),
                };
                let listing = self.io(listing, &path)?;
                steps.extend(listing.there.iter().rev().map(|child| name.join(child)));
            } else {
                self.links.add(&node, &name);
            }
        }
        self.links.seal();
        Ok(())
    }

    /// Writes what a name is, if that is to be written, and goes on to what is in it.
    fn visit(&mut self, step: &Step, steps: &mut Vec<Step>) -> Result<()> {
        let path = within(self.upper, &step.name);
        let Some(node) = self.read(&path)? else {
            if step.name.as_os_str().is_empty() {
                return Err(Error::not_found(OPERATION, self.upper.display(), "no such directory"));
            }
            return Err(self.invalid(&step.name, "it changed while it was read"));
        };
        let mut below = None;
        if let (Source::Whole { lower: Some(lower) }, true) = (self.source, step.below) {
            let path = within(lower, &step.name);
            below = self.read(&path)?.map(|node| (node, lower));
            if step.name.as_os_str().is_empty() && !below.as_ref().is_some_and(|(node, _)| node.is_dir()) {
                return Err(Error::not_found(OPERATION, lower.display(), "no such directory"));
            }
        }
        if self.differs(&node, below.as_ref())? {
            self.write(&node, &step.name)?;
        }
        if node.is_dir() {
            let below = below.as_ref().map(|(node, _)| node).filter(|node| node.is_dir());
            self.enter(&path, step, below, steps)?;
        } else if step.name.as_os_str().is_empty() {
            return Err(Error::invalid(OPERATION, self.upper.display(), "it is not a directory"));
        }
        Ok(())
    }

    fn differs(&mut self, node: &Node, below: Option<&(Node, &Path)>) -> Result<bool> {
        let Some((below, lower)) = below else { return Ok(true) };
        let differs = if node.is_dir() {
            node.resembles(below).map(|same| !same)
        } else {
            self.links.changed(node, Some(below), lower, self.cancel)
        };
        self.io(differs, &node.path)
    }

    /// Writes what is gone from a directory, and notes what is there.
    fn enter(&mut self, path: &Path, step: &Step, below: Option<&Node>, steps: &mut Vec<Step>) -> Result<()> {
        let listing = match (self.source, below) {
            (Source::Whole { .. }, Some(below)) => Listing::against(path, &below.path),
            (Source::Whole { .. }, None) => Listing::plain(path),
            (Source::Layer(form), _) => Listing::of_layer(path, form),
        };
        let listing = self.io(listing, path)?;
        self.done.sockets += listing.sockets;
        if listing.opaque {
            self.mark(&step.name, listing::opaque())?;
        }
        for gone in &listing.gone {
            self.check_name(&step.name, gone)?;
            self.mark(&step.name, &listing::whiteout(gone.as_bytes()))?;
        }
        let below = below.is_some();
        steps.extend(listing.there.iter().rev().map(|child| Step { name: step.name.join(child), below }));
        Ok(())
    }

    /// Writes an entry that says what is not there.
    fn mark(&mut self, dir: &Path, marker: &[u8]) -> Result<()> {
        let name = dir.join(OsStr::from_bytes(marker));
        let entry = Entry {
            name: name.as_os_str().as_bytes(),
            kind: EntryType::Regular,
            mode: 0,
            owner: 0,
            group: 0,
            mtime: (0, 0),
            size: 0,
            target: &[],
            device: (0, 0),
            xattrs: &Xattrs::new(),
            sparse: None,
        };
        self.done.whiteouts += 1;
        self.begin(&entry)
    }

    /// Writes what is there.
    fn write(&mut self, node: &Node, name: &Path) -> Result<()> {
        if let Some(last) = name.file_name() {
            self.check_name(name.parent().unwrap_or(name), last)?;
        }
        if let Source::Layer(Form::Overlay) = self.source
            && let Some(reason) = self.io(listing::needs_below(&node.path), &node.path)?
        {
            return Err(self.invalid(name, reason));
        }
        self.done.entries += 1;
        let (xattrs, target) = (self.io(node.xattrs(), &node.path)?, self.io(node.target(), &node.path)?);
        if let Some(odd) = xattrs.keys().find(|name| name.contains(&b'=')) {
            let odd = String::from_utf8_lossy(odd);
            return Err(
                self.invalid(name, format_args!("no tar can hold an extended attribute called {odd}"))
            );
        }
        let mut bytes = name.as_os_str().as_bytes().to_vec();
        if bytes.is_empty() {
            bytes.push(b'.');
        }
        if node.is_dir() {
            bytes.push(b'/');
        }
        let mut entry = Entry {
            name: &bytes,
            kind: node.kind,
            mode: node.mode(),
            owner: node.meta.uid(),
            group: node.meta.gid(),
            mtime: node.mtime(),
            size: 0,
            target: &target,
            device: node.device(),
            xattrs: &xattrs,
            sparse: None,
        };
        let first = self.links.first(node, name).map(Path::to_owned);
        if let Some(first) = &first {
            entry.kind = EntryType::Link;
            entry.target = first.as_os_str().as_bytes();
            return self.begin(&entry);
        }
        if node.kind == EntryType::Regular {
            let done = write_file(&mut self.out, node, &mut entry, self.cancel);
            return done.map_err(|failure| match failure {
                Failure::In(error) => self.failed(error, &node.path),
                Failure::Out(error) => output(self.upper, self.cancel, error),
            });
        }
        self.begin(&entry)
    }

    fn begin(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.out.begin(entry).map_err(|error| output(self.upper, self.cancel, error))
    }

    fn check_name(&self, dir: &Path, name: &OsStr) -> Result<()> {
        if listing::is_reserved(name.as_bytes()) {
            return Err(self.invalid(&dir.join(name), "in a layer such a name says that something is gone"));
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Option<Node>> {
        self.io(Node::read(path), path)
    }

    fn io<T>(&self, result: io::Result<T>, path: &Path) -> Result<T> {
        result.map_err(|error| self.failed(error, path))
    }

    fn failed(&self, error: io::Error, path: &Path) -> Error {
        let what = What::new(OPERATION, self.upper.display());
        match error.kind() {
            _ if self.cancel.is_cancelled() => Error::Cancelled { what },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
                self.invalid(path, error)
            }
            _ => Error::Io { what, path: path.to_owned(), source: error },
        }
    }

    fn invalid(&self, path: &Path, reason: impl fmt::Display) -> Error {
        Error::invalid(OPERATION, self.upper.display(), format_args!("{}: {reason}", path.display()))
    }

    fn stop_if_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled { what: What::new(OPERATION, self.upper.display()) });
        }
        Ok(())
    }
}

/// The tar cannot be written to where it goes.
fn output(upper: &Path, cancel: &CancellationToken, source: io::Error) -> Error {
    let what = What::new(OPERATION, upper.display());
    if cancel.is_cancelled() {
        return Error::Cancelled { what };
    }
    Error::Io { what, path: PathBuf::from("output"), source }
}

/// Writes a regular file and its content, holes left out.
fn write_file(
    out: &mut TarWriter<impl Write>,
    node: &Node,
    entry: &mut Entry<'_>,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let size = node.meta.len();
    let file = content::open(node).map_err(Failure::In)?;
    match content::extents(&file, size, cancel).map_err(Failure::In)? {
        None => {
            entry.size = size;
            out.begin(entry).map_err(Failure::Out)?;
            content::copy(&file, (0, size), out, cancel)?;
        }
        Some(extents) => {
            let map = content::map(&extents, size);
            entry.size = map.len() as u64 + extents.iter().map(|extent| extent.1).sum::<u64>();
            entry.sparse = Some(size);
            out.begin(entry).map_err(Failure::Out)?;
            out.write_all(&map).map_err(Failure::Out)?;
            for extent in extents {
                content::copy(&file, extent, out, cancel)?;
            }
        }
    }
    out.pad().map_err(Failure::Out)?;
    content::check(node, &file).map_err(Failure::In)
}

/// The file of a name in a tree; the root's name is empty.
fn within(root: &Path, name: &Path) -> PathBuf {
    if name.as_os_str().is_empty() { root.to_owned() } else { root.join(name) }
}
