//! What the tests of this suite are made of.

pub(crate) mod image;
pub(crate) mod tree;

use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lazyblob_cache::layer::{self, Applied, Diffed, Form, Options};
use tokio_util::sync::CancellationToken;

pub(crate) use self::tree::{at, is_root};

/// The tar that makes one tree of another, and what was said of it.
pub(crate) fn diff(lower: Option<&Path>, upper: &Path) -> (Vec<u8>, Diffed) {
    let mut tar = Vec::new();
    let done = layer::diff(lower, upper, &mut tar, &CancellationToken::new()).unwrap();
    assert_eq!(done.size, tar.len() as u64);
    (tar, done)
}

/// The tar of a layer's own directory.
pub(crate) fn tar_of(dir: &Path, form: Form) -> (Vec<u8>, Diffed) {
    let mut tar = Vec::new();
    let done = layer::tar_of(dir, form, &mut tar, &CancellationToken::new()).unwrap();
    assert_eq!(done.size, tar.len() as u64);
    (tar, done)
}

/// An entry of a tar.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) name: String,
    /// The name as it is, without a slash behind it: with one, links are followed.
    pub(crate) path: PathBuf,
    pub(crate) kind: tar::EntryType,
    pub(crate) header: tar::Header,
    pub(crate) target: Option<PathBuf>,
    pub(crate) pax: Vec<(String, Vec<u8>)>,
    pub(crate) content: Vec<u8>,
}

/// The entries of a tar. Records are read here: the tar crate takes a line end in an xattr for the end of a record.
pub(crate) fn entries(tar: &[u8]) -> Vec<Read> {
    let mut read = Vec::new();
    let mut pax: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in tar::Archive::new(tar).entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header().clone();
        if header.entry_type() == tar::EntryType::XHeader {
            pax = records(&content);
            continue;
        }
        let said = |key| pax.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone());
        let name = said("GNU.sparse.name").or_else(|| said("path"));
        let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let target = said("linkpath").or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
        read.push(Read {
            name: String::from_utf8_lossy(&name).into_owned(),
            path: path(&name).components().collect(),
            kind: header.entry_type(),
            header,
            target: target.map(|target| path(&target)),
            pax: std::mem::take(&mut pax),
            content,
        });
    }
    read
}

fn records(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let digits = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let len: usize = std::str::from_utf8(&bytes[..digits]).unwrap().parse().unwrap();
        let (record, rest) = bytes.split_at(len);
        let (record, end) = record[digits + 1..].split_at(len - digits - 2);
        assert_eq!(end, b"\n");
        let equals = record.iter().position(|byte| *byte == b'=').unwrap();
        records.push((String::from_utf8(record[..equals].to_vec()).unwrap(), record[equals + 1..].to_vec()));
        bytes = rest;
    }
    records
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// The names in a tar, in their order.
pub(crate) fn names(tar: &[u8]) -> Vec<String> {
    entries(tar).into_iter().map(|entry| entry.name).collect()
}

/// Copies a tree with everything it has, by another program.
pub(crate) fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to), &[]);
}

/// Runs a command to its good end. Returns what it said.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let done = command.stdin(Stdio::from(file)).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Whether a program is here; tests that compare with it have nothing to compare with otherwise.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success())
}

/// Applies a layer to a directory with GNU tar, and what that does not do by hand: whiteouts, what changes its type, and
/// the times of directories the layer does not name.
pub(crate) fn apply_with_gnu_tar(tar: &[u8], dir: &Path) {
    let mut times = Vec::new();
    let read = entries(tar);
    for entry in &read {
        let Some(parent) = entry.path.parent() else { continue };
        let parent = dir.join(parent);
        if parent.is_dir() {
            times.push((parent.clone(), fs::metadata(&parent).unwrap().modified().unwrap()));
        }
    }
    for entry in &read {
        let Some(last) = entry.path.file_name() else { continue };
        let parent = dir.join(entry.path.parent().unwrap());
        assert_ne!(last, ".wh..wh..opq", "a diff says what is gone by name");
        if let Some(gone) = last.as_bytes().strip_prefix(b".wh.") {
            remove(&parent.join(path(gone)));
        }
    }
    for entry in &read {
        let path = dir.join(&entry.path);
        if entry.kind.is_dir() && fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            tree::clear_xattrs(&path);
        } else {
            remove(&path);
        }
    }
    // What is there is not changed before the tar changes it.
    for (parent, time) in &times {
        if parent.is_dir() {
            fs::File::open(parent).unwrap().set_modified(*time).unwrap();
        }
    }
    let mut command = Command::new("tar");
    command.args(["--extract", "--file=-", "--numeric-owner", "--same-permissions", "--exclude=.wh.*"]);
    command.args(["--xattrs", "--xattrs-include=*", "--delay-directory-restore"]).arg("--directory").arg(dir);
    run(&mut command, tar);
    let named = read.into_iter().map(|entry| dir.join(entry.path)).collect::<Vec<_>>();
    for (parent, time) in times {
        if parent.is_dir() && !named.contains(&parent) {
            fs::File::open(&parent).unwrap().set_modified(time).unwrap();
        }
    }
}

/// Removes what there is of a name, if anything.
pub(crate) fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Applies a layer to a directory that has those below, as we do.
pub(crate) fn apply(tar: &[u8], dir: &Path) {
    let pending = apply_as(tar, dir, Form::Tree).pending;
    assert!(pending.implied.is_empty() && pending.links.is_empty());
}

/// Applies a layer as we do.
pub(crate) fn apply_as(tar: &[u8], dir: &Path, form: Form) -> Applied {
    let options = if is_root() { Options::privileged(form) } else { Options::unprivileged(form) };
    let applied = layer::apply(tar, dir, &options, &CancellationToken::new()).unwrap();
    assert_eq!(applied.diff_id, lazyblob_remote::digest::sha256(tar));
    applied
}
