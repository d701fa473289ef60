//! Processes that are killed, that work on one root at once, and that lose their power.
//!
//! This test program runs itself again: [`child`] is what the other process does, [`Oracle`](oracle::Oracle) remembers what
//! it said was done, and [`check`] holds the root against that. A failure says the seed; `LAZYBLOB_SEED` repeats it, as far
//! as the moment of a kill can be repeated, and `LAZYBLOB_SOAK` takes long.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]
#![allow(clippy::print_stdout, reason = "processes tell each other so, and a soak what it does")]

mod check;
mod child;
mod kill;
mod oracle;
mod other;
mod powercut;
mod processes;
mod shown;
mod support;
