//! Which runtime there is.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Those that are looked for, best one first: crun starts in a fifth of the time.
const KNOWN: [&str; 2] = ["crun", "runc"];
/// Where else programs of the system are: a user's search path often lacks these.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program that keeps to the command line of runc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runtime {
    pub(super) path: PathBuf,
}

impl Runtime {
    /// The runtime that `wanted` names (a path, or a name in the search path), else the first known one.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub(super) fn find(wanted: Option<&Path>) -> Result<Self, String> {
        let search = env::var_os("PATH").unwrap_or_default();
        Self::find_in(wanted, &search)
    }

    fn find_in(wanted: Option<&Path>, search: &OsStr) -> Result<Self, String> {
        let dirs: Vec<PathBuf> = env::split_paths(search).chain(SYSTEM.map(PathBuf::from)).collect();
        let found = |name: &Path| dirs.iter().map(|dir| dir.join(name)).find(|path| is_program(path));
        let Some(wanted) = wanted else {
            let path = KNOWN.iter().find_map(|name| found(Path::new(name)));
            return path.map(|path| Self { path }).ok_or_else(|| {
                "there is no OCI runtime here: install runc or crun, or name one in the settings".to_owned()
            });
        };
        let is_path = wanted.components().count() > 1;
        let path = if is_path { is_program(wanted).then(|| wanted.to_owned()) } else { found(wanted) };
        path.map(|path| Self { path }).ok_or_else(|| match wanted.exists() && is_path {
            true => format!("the runtime {} is no program that can be run", wanted.display()),
            false => format!("there is no runtime {}: install it, or name another one", wanted.display()),
        })
    }

    /// What it is told where there are no cgroups that it may write to.
    pub(super) fn without_cgroups(&self) -> &'static str {
        let name = self.path.file_name().unwrap_or_default();
        if name.to_string_lossy().contains("crun") { "--cgroup-manager=disabled" } else { "--rootless=true" }
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn program(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn crun_comes_before_runc() {
        let dir = tempfile::tempdir().unwrap();
        let (runc, crun) = (dir.path().join("runc"), dir.path().join("crun"));
        program(&runc, 0o755);
        assert_eq!(Runtime::find_in(None, dir.path().as_os_str()).unwrap().path, runc);
        program(&crun, 0o644);
        assert_eq!(Runtime::find_in(None, dir.path().as_os_str()).unwrap().path, runc, "that is no program");
        program(&crun, 0o755);
        assert_eq!(Runtime::find_in(None, dir.path().as_os_str()).unwrap().path, crun);
        let named = Runtime::find_in(Some(Path::new("runc")), dir.path().as_os_str()).unwrap();
        assert_eq!(named.path, runc, "the one that is named");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("youki");
        let error = Runtime::find_in(Some(&path), OsStr::new("")).unwrap_err();
        assert!(error.contains(&path.display().to_string()) && error.contains("install"), "{error}");
        program(&path, 0o644);
        let error = Runtime::find_in(Some(&path), OsStr::new("")).unwrap_err();
        assert!(error.contains("no program"), "{error}");
    }
}
