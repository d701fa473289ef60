//! The command's contract: standard output, standard error, exit codes, signals.

mod bad_manifests;
mod credentials;
mod exit_codes;
mod hosts;
mod local;
mod output;
mod progress;
mod resume;
mod secrets;
mod serve;
mod signals;
mod store;
