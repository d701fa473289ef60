//! What a process may use of the kernel (`setrlimit`).

use serde::Serialize;

use crate::executor::Ulimit;

/// Those that Linux has.
const KNOWN: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rlimit {
    r#type: String,
    soft: u64,
    hard: u64,
}

/// Whether there is a limit of this name.
pub(in super::super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Those that are given; all others are this process's own.
pub(super) fn of(ulimits: &[Ulimit]) -> Vec<Rlimit> {
    let rlimit = |ulimit: &Ulimit| Rlimit {
        r#type: format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()),
        soft: ulimit.soft,
        hard: ulimit.hard,
    };
    ulimits.iter().map(rlimit).collect()
}
