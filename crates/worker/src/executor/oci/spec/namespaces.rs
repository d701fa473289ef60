//! What a process has of its own.

use serde::Serialize;

use crate::executor::Network;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Namespace {
    r#type: &'static str,
}

/// A network of its own has a loopback device and nothing else; a runtime brings that up.
pub(super) fn of(network: Network, has_cgroup: bool) -> Vec<Namespace> {
    let mut all = vec!["pid", "ipc", "uts", "mount"];
    if network == Network::None {
        all.push("network");
    }
    if has_cgroup {
        all.push("cgroup");
    }
    all.into_iter().map(|r#type| Namespace { r#type }).collect()
}
