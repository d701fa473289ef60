//! Definitions: those of BuildKit's client are read, and written to the byte; bad ones are refused by name.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bad;
mod building;
mod built;
mod fixture;
mod long;
mod mutations;
mod reading;
