//! The process, and how it is shown to people.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::mounts::Seen;
use crate::executor::{Network, Process, Security, Ulimit};
use crate::llb::paths;
use crate::llb::pb::{ExecOp, Meta, NetMode, SecurityMode};

/// The longest command that is shown whole, in characters.
const LONGEST: usize = 1000;

/// The process that the definition describes. `env` is all of its variables, `seen` what is mounted.
pub(super) fn process(op: &ExecOp, meta: &Meta, env: Vec<String>, seen: Seen) -> Process {
    let Seen { root, read_only_root, mounts } = seen;
    let ulimits = meta.ulimit.iter().map(|limit| Ulimit {
        name: limit.name.clone(),
        soft: limit_of(limit.soft),
        hard: limit_of(limit.hard),
    });
    Process {
        id: id(),
        root,
        read_only_root,
        mounts,
        args: meta.args.clone(),
        env,
        cwd: paths::rooted(&meta.cwd),
        user: meta.user.clone(),
        hostname: meta.hostname.clone(),
        extra_hosts: meta.extra_hosts.iter().map(|host| (host.host.clone(), host.ip.clone())).collect(),
        network: match op.network() {
            NetMode::None => Network::None,
            NetMode::Unset | NetMode::Host => Network::Host,
        },
        security: match op.security() {
            SecurityMode::Insecure => Security::Insecure,
            SecurityMode::Sandbox => Security::Sandbox,
        },
        ulimits: ulimits.collect(),
        cgroup_parent: Some(meta.cgroup_parent.clone()).filter(|parent| !parent.is_empty()),
        remove_stubs_recursively: meta.remove_mount_stubs_recursive,
    }
}

/// Below 0 is without end.
fn limit_of(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A name that no other process on this machine has had.
fn id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("lazyblob-{}-{:x}-{number}", std::process::id(), since.as_micros())
}

/// A command as a shell would take it, cut short if it is very long. Variables are not expanded, so that no secret is in it
/// that the definition does not have.
pub(super) fn shown(args: &[String]) -> String {
    let words: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
    let whole = words.join(" ");
    match whole.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

fn quoted(arg: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "_-./:=@%+,".contains(char);
    if !arg.is_empty() && arg.chars().all(is_plain) {
        return arg.to_owned();
    }
    format!("'{}'", arg.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let shown = |args: &[&str]| shown(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(&["/bin/sh", "-c", "echo $TOKEN"]), "/bin/sh -c 'echo $TOKEN'");
        assert_eq!(shown(&["a", "", "it's", "ä=1"]), r"a '' 'it'\''s' ä=1");
        let long = shown(&["x", &"é".repeat(5000)]);
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn limits_below_zero_are_none() {
        assert_eq!(limit_of(-1), u64::MAX);
        assert_eq!(limit_of(1024), 1024);
        assert_ne!(id(), id());
    }
}
