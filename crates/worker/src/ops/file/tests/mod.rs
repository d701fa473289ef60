//! The library against tables of cases, in directories.

mod copies;
mod deep;
mod hostile;
mod patterns;
mod said;
mod simple;
mod unpacking;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lazyblob_remote::testing::not_run;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::action::act;
use super::tree::Root;
use crate::error::Result;
use crate::llb::pb::{
    Action, FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink,
};

/// Two trees with something beside them that nothing may touch.
struct Trees {
    dir: TempDir,
}

impl Trees {
    /// Trees with these files in them: `d/` a directory, `f=text` a file, `l->target` a link.
    fn new(from: &[&str], to: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, files) in [("from", from), ("to", to), ("outside", &["secret=secret", "kept/inner=kept"])]
        {
            let root = dir.path().join(name);
            fs::create_dir(&root).unwrap();
            fill(&root, files);
        }
        Self { dir }
    }

    fn from(&self) -> PathBuf {
        self.dir.path().join("from")
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("to")
    }

    fn act(&self, action: impl Into<Action>, owner: Option<(u32, u32)>) -> Result<()> {
        let [from, to] = [self.from(), self.to()].map(|path| Root::open(&path).unwrap());
        let done = act(&action.into(), Some(&from), &to, owner, &CancellationToken::new());
        assert_eq!(listed(&self.dir.path().join("outside")), ["kept/", "kept/inner=kept", "secret=secret"]);
        done
    }

    /// What is in the tree after an action; or what went wrong.
    fn after(&self, action: impl Into<Action>) -> Vec<String> {
        match self.act(action, None) {
            Ok(()) => listed(&self.to()),
            Err(error) => vec![error.to_string()],
        }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.to().join(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.to().join(name)).unwrap().permissions().mode() & 0o7777
    }

    fn mtime(&self, name: &str) -> (i64, i64) {
        let meta = fs::symlink_metadata(self.to().join(name)).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    }

    fn owner(&self, name: &str) -> (u32, u32) {
        let meta = fs::symlink_metadata(self.to().join(name)).unwrap();
        (meta.uid(), meta.gid())
    }
}

/// Makes files: `d/` a directory, `f=text` a file, `l->target` a link, with the directories they are in.
fn fill(root: &Path, files: &[&str]) {
    for file in files {
        if let Some((name, target)) = file.split_once("->") {
            above(root, name);
            symlink(target, root.join(name)).unwrap();
        } else if let Some((name, text)) = file.split_once('=') {
            above(root, name);
            fs::write(root.join(name), text).unwrap();
        } else {
            fs::create_dir_all(root.join(file)).unwrap();
        }
    }
}

fn above(root: &Path, name: &str) {
    fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
}

/// All that is in a tree, in the words that [`fill`] takes, sorted.
fn listed(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let name = dir.join(entry.unwrap().file_name());
            let (path, shown) = (root.join(&name), name.display());
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            found.push(if kind.is_dir() {
                waiting.push(name.clone());
                format!("{shown}/")
            } else if kind.is_symlink() {
                format!("{shown}->{}", fs::read_link(&path).unwrap().display())
            } else if kind.is_file() {
                format!("{shown}={}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
            } else if kind.is_fifo() {
                format!("{shown}|")
            } else {
                format!("{shown}?")
            });
        }
    }
    found.sort();
    found
}

/// A copy as a client that says nothing special writes it.
fn copied(src: &str, dest: &str) -> FileActionCopy {
    FileActionCopy {
        src: src.to_owned(),
        dest: dest.to_owned(),
        mode: -1,
        timestamp: -1,
        ..FileActionCopy::default()
    }
}

/// As a Dockerfile's `COPY` has it.
fn dockerfile(src: &str, dest: &str) -> FileActionCopy {
    FileActionCopy {
        allow_wildcard: true,
        create_dest_path: true,
        dir_copy_contents: true,
        follow_symlink: true,
        ..copied(src, dest)
    }
}

fn mkdir(path: &str, mode: i32, make_parents: bool) -> FileActionMkDir {
    let path = path.to_owned();
    FileActionMkDir { path, mode, make_parents, timestamp: -1, ..FileActionMkDir::default() }
}

fn mkfile(path: &str, mode: i32, data: &str) -> FileActionMkFile {
    let (path, data) = (path.to_owned(), data.as_bytes().to_vec());
    FileActionMkFile { path, mode, data, timestamp: -1, ..FileActionMkFile::default() }
}

fn rm(path: &str, allow_wildcard: bool, allow_not_found: bool) -> FileActionRm {
    FileActionRm { path: path.to_owned(), allow_not_found, allow_wildcard }
}

fn link(oldpath: &str, newpath: &str) -> FileActionSymlink {
    let (oldpath, newpath) = (oldpath.to_owned(), newpath.to_owned());
    FileActionSymlink { oldpath, newpath, owner: None, timestamp: -1 }
}

/// Whether this is root's process; says why a test is not run where it is not.
fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        not_run(what, "it wants root");
    }
    is_root
}

macro_rules! actions {
    ($($of:ident $kind:ident),*) => {$(
        impl From<$of> for Action {
            fn from(action: $of) -> Self {
                Self::$kind(action)
            }
        }
    )*};
}

actions!(FileActionCopy Copy, FileActionMkDir MkDir, FileActionMkFile MkFile, FileActionRm Rm, FileActionSymlink Symlink);
