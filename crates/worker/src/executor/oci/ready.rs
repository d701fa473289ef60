//! Whether containers can be made here.

use std::fs;
use std::path::Path;

use super::cgroup::Cgroups;
use super::find::Runtime;
use super::home::Home;
use super::spec::{Machine, bounding};
use super::{OPERATION, Settings};
use crate::error::{Error, Result};
use lazyblob_remote::What;

/// The number of `CAP_SYS_ADMIN`, without which there are no mounts and namespaces.
const SYS_ADMIN: u32 = 21;
/// What a container always has of its own.
const NAMESPACES: [&str; 5] = ["mnt", "pid", "ipc", "uts", "net"];

/// Looks whether there is what a container takes, makes a place for its state, and sweeps what others left.
pub(super) fn open(settings: &Settings) -> Result<Home> {
    let missing = |reason: String| Error::Executor { what: What::new(OPERATION, "containers"), reason };
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|e| missing(format!("/proc/self/status: {e}: mount /proc")))?;
    permitted(&status, rustix::process::geteuid().is_root()).map_err(missing)?;
    if let Some(name) = NAMESPACES.iter().find(|name| !Path::new("/proc/self/ns").join(name).exists()) {
        return Err(missing(format!("the kernel has no {name} namespaces: use one that has")));
    }
    let runtime = Runtime::find(settings.runtime.as_deref()).map_err(missing)?;
    let machine = Machine {
        bounding: bounding(&status).unwrap_or(u64::MAX),
        cgroup_namespaces: Path::new("/proc/self/ns/cgroup").exists(),
    };
    let cgroups = Cgroups::detect();
    Home::open(&settings.state, runtime, cgroups, machine)
        .map_err(|e| Error::io(OPERATION, &settings.state, e))
}

/// Whether this process may make containers, by the text of its `/proc/self/status`.
fn permitted(status: &str, is_root: bool) -> std::result::Result<(), String> {
    if !is_root {
        return Err("only root can run commands in containers: run this as root".to_owned());
    }
    let may = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let may = may.and_then(|sets| u64::from_str_radix(sets.trim(), 16).ok()).unwrap_or(0);
    if may >> SYS_ADMIN & 1 == 0 {
        return Err("this process may not make namespaces and mounts: give it CAP_SYS_ADMIN \
            (in a container: run that privileged)"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let all = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        permitted(all, true).unwrap();
        assert!(permitted(all, false).unwrap_err().contains("root"));
        // What Docker leaves a container.
        let error = permitted("CapEff:\t00000000a80425fb\n", true).unwrap_err();
        assert!(error.contains("CAP_SYS_ADMIN") && error.contains("privileged"), "{error}");
    }
}
