//! The command's contract: standard output, standard error, exit codes, signals.

mod bad_manifests;
mod credentials;
mod exit_codes;
mod extract;
mod hosts;
mod local;
mod mount;
mod output;
mod progress;
mod prune;
mod resume;
mod secrets;
mod serve;
mod signals;
mod store;
mod verify;
