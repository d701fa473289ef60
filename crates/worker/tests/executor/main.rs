//! Commands in containers, by a real runtime. `LAZYBLOB_TEST_RUNTIME` names another one than the one that is found.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::print_stderr)]

mod command;
mod ending;
mod mounts;
mod runtime;
mod sandbox;
mod support;
mod traces;
