//! Whether a process is one that can be run: what a runtime would say of it differs from one to the next, and may show what
//! is secret.

use crate::executor::{MountSource, Process, Security};

use super::spec::{has_filter, is_rlimit};

/// The kernel takes no longer host name.
const HOSTNAME: usize = 64;

/// What is wrong with a process; values of its environment are not shown.
pub(super) fn check(process: &Process) -> Result<(), String> {
    if process.id.is_empty() || !process.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("{:?} is no name of a process: letters, digits and dashes make one", process.id));
    }
    check_filter(process, std::env::consts::ARCH)?;
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

/// Nothing is run in a sandbox that lacks a part.
fn check_filter(process: &Process, architecture: &str) -> Result<(), String> {
    if process.security == Security::Insecure || has_filter(architecture) {
        return Ok(());
    }
    Err(format!(
        "no filter of system calls is known for {architecture}: only security.insecure can be run on such a machine"
    ))
}

fn is_no_word(char: char) -> bool {
    char.is_whitespace() || char.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Network;

    #[test]
    fn nothing_runs_in_a_sandbox_without_a_filter() {
        let mut process = Process {
            id: "test".to_owned(),
            root: "/root".into(),
            read_only_root: false,
            mounts: Vec::new(),
            args: vec!["sh".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            extra_hosts: Vec::new(),
            network: Network::None,
            security: Security::Sandbox,
            ulimits: Vec::new(),
            cgroup_parent: None,
            remove_stubs_recursively: false,
        };
        for known in ["x86_64", "aarch64"] {
            check_filter(&process, known).unwrap();
        }
        let refused = check_filter(&process, "riscv64").unwrap_err();
        assert!(refused.contains("riscv64") && refused.contains("security.insecure"), "{refused}");
        process.security = Security::Insecure;
        check_filter(&process, "riscv64").unwrap();
    }
}
