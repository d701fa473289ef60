//! Secrets in files that only memory has.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::llb::pb::SecretOpt;
use crate::session::{Secret, Session};

/// The secret of this name of the first session that has one; nothing where none has and it may be absent.
///
/// # Errors
/// [`Error::Failed`], naming it.
pub(super) fn find(sessions: &[Arc<Session>], id: &str, optional: bool) -> Result<Option<Secret>> {
    let found = sessions.iter().find_map(|session| session.secrets.get(id)).cloned();
    match found {
        None if !optional => {
            let reason = format!("nobody has it who builds this: add `--secret id={id},src=FILE`");
            Err(Error::failed("find secret", id, reason))
        }
        found => Ok(found),
    }
}

/// Writes a secret into a new file of `directory`, whose name tells nothing. Blocking.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write(directory: &Path, number: usize, opt: &SecretOpt, secret: &Secret) -> Result<PathBuf> {
    let path = directory.join(format!("file-{number}"));
    let written = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(secret.expose())?;
        give(&path, opt.uid, opt.gid, opt.mode)
    };
    written().map_err(|error| Error::io("write secret", &path, error))?;
    Ok(path)
}

/// Gives a file to somebody. The mode is last: another owner takes some of it away.
pub(super) fn give(path: &Path, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    let (own_uid, own_gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if (own_uid.as_raw(), own_gid.as_raw()) != (uid, gid) {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
}
