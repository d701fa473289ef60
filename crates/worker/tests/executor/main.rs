//! Commands in containers, by a real runtime. `LAZYBLOB_TEST_RUNTIME` names another one than the one that is found.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod command;
mod ending;
mod mounts;
mod runtime;
mod sandbox;
mod speed;
mod support;
mod traces;
