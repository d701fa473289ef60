//! Whether a process is one that can be run: what a runtime would say of it differs from one to the next, and may show what
//! is secret.

use crate::executor::{MountSource, Process};

use super::spec::is_rlimit;

/// The kernel takes no longer host name.
const HOSTNAME: usize = 64;

/// What is wrong with a process; values of its environment are not shown.
pub(super) fn check(process: &Process) -> Result<(), String> {
    if process.id.is_empty() || !process.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("{:?} is no name of a process: letters, digits and dashes make one", process.id));
    }
    if process.args.is_empty() {
        return Err("there is no command".to_owned());
    }
    if process.args.iter().any(|arg| arg.contains('\0')) {
        return Err("an argument has a NUL in it".to_owned());
    }
    for variable in &process.env {
        match variable.split_once('=') {
            Some((name, _)) if name.is_empty() || variable.contains('\0') => {
                return Err(format!("the environment variable {name:?} is no name, or has a NUL in it"));
            }
            Some(_) => {}
            // It may be all value.
            None => return Err("an environment variable has no name".to_owned()),
        }
    }
    if !(process.cwd.is_empty() || process.cwd.starts_with('/')) || process.cwd.contains('\0') {
        return Err(format!("the working directory {:?} is no absolute path", process.cwd));
    }
    for mount in &process.mounts {
        if !mount.dest.starts_with('/') || mount.dest.contains('\0') {
            return Err(format!("the mount point {:?} is no absolute path", mount.dest));
        }
        if let MountSource::Bind(source) = &mount.source
            && !source.is_absolute()
        {
            return Err(format!("what is mounted at {} has no absolute path", mount.dest));
        }
    }
    if let Some(ulimit) = process.ulimits.iter().find(|ulimit| !is_rlimit(&ulimit.name)) {
        return Err(format!("there is no limit {:?}", ulimit.name));
    }
    if process.hostname.len() > HOSTNAME || process.hostname.contains(is_no_word) {
        return Err(format!("{:?} is no host name", process.hostname));
    }
    let is_no_host = |(name, address): &&(String, String)| {
        name.is_empty() || name.contains(is_no_word) || address.is_empty() || address.contains(is_no_word)
    };
    match process.extra_hosts.iter().find(is_no_host) {
        Some((name, address)) => Err(format!("{name:?} at {address:?} is no host")),
        None => Ok(()),
    }
}

fn is_no_word(char: char) -> bool {
    char.is_whitespace() || char.is_control()
}
