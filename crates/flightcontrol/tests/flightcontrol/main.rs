//! What a single-flight group promises, by topic. `LAZYBLOB_SOAK=1` asks for the long counts.
// clippy.toml allows these in tests, but does not see that helpers of an integration test are part of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod buildkit;
mod cached;
mod contention;
mod lifecycle;
mod personal;
mod progress;
mod schedules;
mod support;
mod winding_down;
