//! What the cgroup of a process lets it use.

use serde::Serialize;

use crate::executor::Security;

#[derive(Debug, Serialize)]
pub(super) struct Resources {
    devices: Vec<Rule>,
}

/// Whether devices may be opened. A runtime adds those that every container has.
#[derive(Debug, Serialize)]
struct Rule {
    allow: bool,
    access: &'static str,
}

pub(super) fn of(security: Security) -> Resources {
    Resources { devices: vec![Rule { allow: security == Security::Insecure, access: "rwm" }] }
}
